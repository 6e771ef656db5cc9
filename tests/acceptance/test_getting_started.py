"""Getting started works as it is written: every command, in its order, prints what is shown."""

from tests.acceptance.sessions import a_shell, sessions
from tests.documents import DOCS, blocks

PAGE = DOCS / "getting-started.md"


def test_each_command_prints_what_is_shown() -> None:
    listed = sessions(PAGE)
    assert len(listed) >= 8
    with a_shell() as shell:
        for block in blocks("python", pages=[PAGE]):
            assert block.file is not None
            (shell.folder / block.file).parent.mkdir(exist_ok=True)
            (shell.folder / block.file).write_text(block.text)
        shell.up()  # stands for `make up`
        for session in listed:
            shell.run(session)
