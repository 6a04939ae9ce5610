"""A shard's tables → Parquet bytes, and back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.run.old_names import current_part


@dataclass(frozen=True, kw_only=True, slots=True)
class ParquetBytes:
    """A Parquet file in memory with its row count and SHA-256."""

    data: pa.Buffer
    rows: int
    sha256: str


def parquet_bytes(table: pa.Table) -> ParquetBytes:
    """Encode a table: one row group, zstd; Parquet itself keeps strings that repeat as a dictionary."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="zstd", compression_level=1, row_group_size=max(1, table.num_rows)
    )
    data = sink.getvalue()
    return ParquetBytes(data=data, rows=table.num_rows, sha256=hashlib.sha256(data).hexdigest())


def row_count(data: bytes) -> int:
    """The rows of a Parquet file in memory, from its footer alone."""
    return int(pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows)


def table_of(data: bytes, schema: pa.Schema) -> pa.Table:
    """Read Parquet bytes and check the columns; raises pa.ArrowInvalid when they are not such a file.

    schema: today's; a part that Raysail 0.1 wrote gets its names, and its dictionary columns become plain strings.
    """
    table = current_part(pq.read_table(pa.BufferReader(data)))
    if table.schema.names != schema.names:
        raise pa.ArrowInvalid(f"columns must be {schema.names}, got {table.schema.names}")
    return table.cast(schema)
