"""`moldau dump FILE...`: data files as text, in the form of Kafka's `kafka-dump-log`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from moldau_broker.storage.disk import OsDisk
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.inspect import MESSAGE_BYTES_MAX, DumpOptions, FileDump, Findings
from moldau_broker.storage.inspect_batches import (
    CoordinatorPrinter,
    MetadataPrinter,
    RecordPrinter,
    TextPrinter,
)
from moldau_cli.root import EXIT_FAILED, say_error


@click.command("dump", short_help="Show what a log, index or snapshot file holds.")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False), metavar="FILE...")
@click.option("--print-data-log", is_flag=True, help="Show keys and values as text.")
@click.option("--deep-iteration", is_flag=True, help="One line per record, not only per batch.")
@click.option("--offsets-decoder", is_flag=True, help="Show records as those of __consumer_offsets.")
@click.option("--cluster-metadata-decoder", is_flag=True, help="Show records as cluster metadata.")
@click.option("--skip-record-metadata", is_flag=True, help="Show contents without offsets and sizes.")
@click.option("--index-sanity-check", is_flag=True, help="Only check indexes as a starting broker does.")
@click.option(
    "--verify-index-only", is_flag=True, help="Compare indexes with their logs, show mismatches only."
)
@click.option("--max-bytes", type=click.IntRange(min=0), help="Read no more than this much of each log.")
@click.option(
    "--max-message-size",
    type=click.IntRange(min=1),
    default=MESSAGE_BYTES_MAX,
    show_default=True,
    help="Size of the largest batch.",
)
def dump(
    files: tuple[str, ...],
    print_data_log: bool,
    deep_iteration: bool,
    offsets_decoder: bool,
    cluster_metadata_decoder: bool,
    skip_record_metadata: bool,
    index_sanity_check: bool,
    verify_index_only: bool,
    max_bytes: int | None,
    max_message_size: int,
) -> None:
    """Show what data files hold: .log, .index, .timeindex, .txnindex, .snapshot and .checkpoint.

    Reads files only; a running broker is not disturbed. Damage is shown, not repaired: mismatches and gaps
    are listed on standard error. The exit status is 1 if a file could not be read at all.
    """
    printer: RecordPrinter | None = None
    if offsets_decoder:
        printer = CoordinatorPrinter()
    elif cluster_metadata_decoder:
        printer = MetadataPrinter()
    elif print_data_log:
        printer = TextPrinter()
    options = DumpOptions(
        printer=printer,
        deep=deep_iteration,
        metadata=not skip_record_metadata,
        bytes_max=max_bytes,
        sanity_only=index_sanity_check,
        verify_only=verify_index_only,
        message_bytes_max=max_message_size,
    )
    findings = Findings()
    failed = False
    for shown in files:
        path = Path(shown).resolve()
        try:
            file = FileDump(OsDisk(path.parent, create=False), path.name, shown, options, findings)
            for line in file.lines():
                click.echo(line, color=True)  # escape sequences in records are data: keep them
            if file.note:
                click.echo(file.note, err=True)
        except StorageError as error:
            say_error(f"{shown}: {error}")
            failed = True
    for line in findings.lines():
        click.echo(line, err=True)
    if failed:
        sys.exit(EXIT_FAILED)
