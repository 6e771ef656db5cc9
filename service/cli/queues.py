"""Commands about queues: pause one, and have it go on."""

import json
from dataclasses import asdict

import click

from service.broker.intake import known_queues
from service.broker.overview import QueueOverview
from service.cli.connecting import open_broker
from service.cli.output import as_json_option
from service.settings import Settings


@click.command()
@click.argument("queue")
@as_json_option
def pause(queue: str, as_json: bool) -> None:
    """Have the jobs of QUEUE wait, until it is resumed; those that run go on."""
    with open_broker() as broker:
        known = known_queues(Settings.load(), broker.catalogue)
        _show(broker.queue_actions.pause(queue, known), as_json)


@click.command()
@click.argument("queue")
@as_json_option
def resume(queue: str, as_json: bool) -> None:
    """Have the jobs of QUEUE run again."""
    with open_broker() as broker:
        known = known_queues(Settings.load(), broker.catalogue)
        _show(broker.queue_actions.resume(queue, known), as_json)


def _show(queue: QueueOverview, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(queue)))
        return
    state = "paused" if queue.paused else "not paused"
    click.echo(f"{queue.name} is {state}: {queue.queued} queued, {queue.running} running")
