"""`@job`: what may be declared, and what is refused with its file and line."""

import asyncio
import copy
import pickle
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import PermanentFailure, Task
from jobs.catalogue import Catalogue
from jobs.errors import DeclarationError, UnknownTask
from tests import sample_tasks


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Catalogue]]:
    """Write modules of the user's and load them as PADDOCK_TASKS would."""
    monkeypatch.chdir(tmp_path)

    def load(**modules: str) -> Catalogue:
        package = tmp_path / f"acme_{uuid.uuid4().hex}"  # imported modules outlive the test
        package.mkdir()
        (package / "__init__.py").touch()
        for name, source in modules.items():
            (package / f"{name}.py").write_text("from jobs import job\n" + source)
        return Catalogue.load([package.name])

    return load


def test_calling_a_task_is_calling_its_function() -> None:
    assert sample_tasks.echo("as it is") == "as it is"
    assert asyncio.run(sample_tasks.echo_async(3)) == 3
    assert sample_tasks.echo.__doc__ == "Return what it is given."


def test_a_task_is_pickled_and_copied_as_functions_are_by_reference() -> None:
    assert pickle.loads(pickle.dumps(sample_tasks.echo)) is sample_tasks.echo
    assert copy.deepcopy(sample_tasks.echo) is sample_tasks.echo


def test_the_catalogue_holds_the_tasks_of_a_package_outside_this_repository(declare: Any) -> None:
    catalogue = declare(
        mail="@job(queue='mail')\ndef post(to: str) -> None: 'Post it.'\n",
        numbers="@job\nasync def add(a: int, b: int = 1) -> int: return a + b\n",
    )
    assert sorted(task.name for task in catalogue) == ["add", "post"]
    assert (catalogue["post"].policy.queue, catalogue["post"].description) == ("mail", "Post it.")
    assert catalogue["add"].run(a=2) == 3


def test_a_task_that_a_module_merely_imports_is_not_declared_there(declare: Any) -> None:
    catalogue = declare(uses="from jobs.send_email import send_email\n")
    assert list(catalogue) == []


def test_an_unknown_task_is_told_with_those_there_are(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownTask, match=r"no task 'ecco'.*echo"):
        catalogue["ecco"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("@job\ndef t(*args: int): ...", r"\*args.* name each parameter"),
        ("@job\ndef t(**kwargs: int): ...", r"\*\*kwargs.* name each parameter"),
        ("@job\ndef t(a: int, /): ...", "positional-only"),
        ("@job\ndef t(a): ...", "a has no type hint"),
        ("class C: ...\n@job\ndef t(a: C): ...", "JSON can't carry its parameter a: .*C"),
        ("from typing import Callable\n@job\ndef t(a: Callable[[], int]): ...", "JSON can't carry"),
        ("from pydantic import SecretStr\n@job\ndef t(a: SecretStr): ...", "stored as stars"),
        ("@job\ndef t(a: 'Missing'): ...", "Missing"),
        ("class C: ...\n@job\ndef t() -> C: ...", "JSON can't carry its result"),
        ("@job\ndef t():\n    yield 1", "generator"),
        ("@job(timeout=0)\ndef t(): ...", "timeout=0"),
        ("@job(queue='a b')\ndef t(): ...", "queue='a b'"),
        ("@job(result_ttl=0)\ndef t(): ...", "result_ttl"),
        ("@job(retry=0)\ndef t(): ...", "1 or more"),
        ("@job(name='a/b')\ndef t(): ...", "name='a/b'"),
        ("@job(concurrency=0)\ndef t(): ...", "concurrency=0"),
        ("@job(concurrency_key='a')\ndef t(a: int): ...", "needs a concurrency"),
        ("@job(concurrency=1, concurrency_key='b')\ndef t(a: int): ...", "'b' is none of its"),
        ("@job(colour='red')\ndef t(): ...", "colour"),
        ("@job(isolation='async')\ndef t(): ...", "is for `async def`.*isolation='thread'"),
        ("@job(isolation='thread')\nasync def t(): ...", "plain functions; this may say 'async'"),
        ("@job(isolation='async', memory='64MiB')\nasync def t(): ...", "limit a process"),
        ("@job(isolation='thread', cpu_seconds=1)\ndef t(): ...", "limit a process"),
        ("@job(isolation='fiber')\ndef t(): ...", "one of process, shared, async, thread"),
        ("def make():\n    @job\n    def t(): ...\nmake()", "top level of its module"),
        ("@job\nclass T: ...", "plain function"),
        ("@job\ndef t(): ...\n@job\ndef t(): ...", "a task named 't' exists already"),
    ],
)
def test_a_wrong_declaration_fails_with_file_and_line(
    declare: Any, source: str, reason: str
) -> None:
    with pytest.raises(DeclarationError, match=reason) as refused:
        declare(tasks=source + "\n")
    assert "tasks.py:" in str(refused.value)


def test_the_queue_of_jobs_that_wait_together_is_io_unless_they_name_another(declare: Any) -> None:
    catalogue = declare(
        tasks="@job(isolation='async')\nasync def a(): ...\n"
        "@job(isolation='thread')\ndef b(): ...\n"
        "@job(isolation='async', queue='mail')\nasync def c(): ...\n"
        "@job(isolation='shared')\ndef d(): ...\n"
        "@job\nasync def e(): ...\n"
    )
    queues = {task.name: task.policy.queue for task in catalogue}
    assert queues == {"a": "io", "b": "io", "c": "mail", "d": "default", "e": "default"}


def test_two_modules_may_not_declare_the_same_name(declare: Any) -> None:
    with pytest.raises(DeclarationError, match=r"two\.py:\d+.*exists already, at .*one\.py:\d+"):
        declare(one="@job\ndef t(): ...\n", two="@job\ndef t(): ...\n")


def test_a_module_that_is_not_there_is_told_with_the_setting() -> None:
    with pytest.raises(DeclarationError, match="PADDOCK_TASKS names 'nowhere.at_all'"):
        Catalogue.load(["nowhere.at_all"])


def test_a_module_that_fails_to_import_something_else_says_what(declare: Any) -> None:
    with pytest.raises(ModuleNotFoundError, match="numpyy"):
        declare(tasks="import numpyy\n")


def test_parameters_that_no_longer_fit_end_the_job_for_good() -> None:
    with pytest.raises(PermanentFailure, match="(?s)echo_async.*value"):
        sample_tasks.echo_async.run(value="no number")
    with pytest.raises(PermanentFailure, match="2 arguments|carries 2"):
        sample_tasks.echo.run(1, 2)


def test_positional_arguments_of_stock_enqueuers_are_taken() -> None:
    assert sample_tasks.echo.run("positional") == "positional"


def test_a_result_that_json_cannot_carry_is_a_permanent_failure() -> None:
    with pytest.raises(PermanentFailure, match="object.* is not JSON"):
        sample_tasks.return_unserializable.run()


def test_the_catalogue_is_asked_by_path_for_what_a_worker_may_run(catalogue: Catalogue) -> None:
    assert catalogue.at("tests.sample_tasks.echo.run") is sample_tasks.echo
    assert catalogue.at("tests.sample_tasks.echo") is sample_tasks.echo
    assert catalogue.at("os.system") is None
    assert catalogue.at(None) is None


def test_tasks_are_tasks() -> None:
    assert isinstance(sample_tasks.echo, Task)
