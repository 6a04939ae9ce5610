"""The tables inside a BModel's header, as far as the runtime follows them. Field ids are part of the format."""

from __future__ import annotations

from typing import Final

from bmodel.flatbuffer import Pair, Scalar, TableType, Text, VectorOf

_I32: Final = Scalar(code="i")
_U32: Final = Scalar(code="I")
_U64: Final = Scalar(code="Q")
_BYTES: Final = VectorOf(element=Scalar(code="B"))
_INTEGERS: Final = VectorOf(element=_I32)
_PAIRS: Final = VectorOf(element=Pair())

SHAPE: Final = TableType(fields={"dim": (0, VectorOf(element=_U64))})

TENSOR: Final = TableType(
    required=frozenset({"name"}),
    fields={
        "name": (0, Text()),
        "data_type": (1, _U32),
        "store_mode": (2, _I32),
        "device_address": (3, _U64),
        "size": (4, _U64),
        "shape": (5, VectorOf(element=SHAPE)),
        "memory_type": (6, _U32),
        "scale": (7, Scalar(code="f", default=1.0)),
        "cpu_address": (8, _U32),
        "padding_h": (9, _U32),
        "zero_point": (10, _I32),
        "hidden": (11, _I32),
        "index": (12, _I32),
    },
)

COMMANDS: Final = TableType(
    fields={
        "bdc_count": (0, _U32),
        "gdma_count": (1, _U32),
        "bdc": (2, Pair()),
        "gdma": (3, Pair()),
        "bdc_bytes": (4, _U32),
        "gdma_bytes": (5, _U32),
    }
)

CORE_COMMANDS: Final = TableType(
    fields={
        "commands": (0, VectorOf(element=COMMANDS)),
        "sdma": (1, _PAIRS),
        "hau": (2, _PAIRS),
        "cdma": (3, _PAIRS),
    }
)

LOCATION: Final = TableType(
    required=frozenset({"name"}), fields={"name": (0, Text()), "offset": (1, _U64), "size": (2, _U64)}
)

WEIGHTS: Final = TableType(
    fields={
        "address": (0, _U64),
        "sha256": (1, _BYTES),
        "binary": (2, Pair()),
        "location": (3, VectorOf(element=LOCATION)),
        "encryption": (4, _I32),
        "decrypted_size": (5, _U64),
    }
)

CPU_CONSTANT: Final = TableType(fields={"name": (0, Text()), "binary": (1, Pair()), "sha256": (2, _BYTES)})

CPU_LAYER: Final = TableType(
    fields={
        "operation": (0, _I32),
        "binary": (1, Pair()),
        "constants": (2, VectorOf(element=CPU_CONSTANT)),
        "is_custom": (3, _I32),
    }
)

STAGE_IR: Final = TableType(
    fields={
        "length": (0, _U32),
        "height_high": (1, _I32),
        "height_low": (2, _I32),
        "width_high": (3, _I32),
        "width_low": (4, _I32),
    }
)

MERGE: Final = TableType(
    fields={"output_from": (0, VectorOf(element=TableType(fields={"indices": (0, _INTEGERS)})))}
)
SWITCH: Final = TableType(fields={"output_from": (0, _INTEGERS), "output_branch": (1, _INTEGERS)})

SUBNET: Final = TableType(
    fields={
        "mode": (0, _I32),
        "commands": (1, VectorOf(element=COMMANDS)),
        "cpu_layers": (2, VectorOf(element=CPU_LAYER)),
        "input_tensor": (3, VectorOf(element=TENSOR)),
        "output_tensor": (4, VectorOf(element=TENSOR)),
        "is_dynamic": (5, _I32),
        "ir_offset": (6, _U32),
        "ir_length": (7, _U32),
        "is_batch_dynamic": (8, _I32),
        "is_size_dynamic": (9, _I32),
        "id": (10, Scalar(code="i", default=-1)),
        "next_ids": (11, _INTEGERS),
        "merge": (12, MERGE),
        "switch": (13, SWITCH),
        "core_commands": (14, VectorOf(element=CORE_COMMANDS)),
        "core_count": (15, _U32),
    }
)

PARAMETER: Final = TableType(
    required=frozenset({"input_tensor", "output_tensor"}),
    fields={
        "input_tensor": (0, VectorOf(element=TENSOR)),
        "output_tensor": (1, VectorOf(element=TENSOR)),
        "neuron_address": (2, _U64),
        "neuron_size": (3, _U64),
        "weights": (4, WEIGHTS),
        "is_dynamic": (5, _I32),
        "is_batch_dynamic": (6, _I32),
        "is_size_dynamic": (7, _I32),
        "commands": (8, VectorOf(element=COMMANDS)),
        "profile": (9, Pair()),
        "stage_ir": (10, VectorOf(element=STAGE_IR)),
        "binary_ir": (11, Pair()),
        "subnets": (12, VectorOf(element=SUBNET)),
        "cpu_memory_size": (13, _U32),
        "neuron_sizes": (14, VectorOf(element=_U64)),
        "statistics": (15, Pair()),
        "core_count": (16, _U32),
        "io_address": (17, _U64),
        "io_size": (18, _U64),
        "tensor_location": (19, Pair()),
        "dynamic_neuron_address": (20, _U64),
        "dynamic_weights_offset": (21, _U64),
        "dynamic_combined_offset": (22, _U64),
    },
)

CASCADE: Final = TableType(fields={"device": (0, _U32), "step": (1, _U32), "main_name": (2, Text())})

NETWORK: Final = TableType(
    required=frozenset({"name"}),
    fields={
        "name": (0, Text()),
        "parameter": (3, VectorOf(element=PARAMETER)),
        "cascade": (4, CASCADE),
        "address_mode": (5, _I32),
    },
)

MODULE: Final = TableType(
    required=frozenset({"name", "binary"}), fields={"name": (0, Text()), "binary": (1, Pair())}
)

MODEL: Final = TableType(
    required=frozenset({"type", "version", "time", "chip", "net"}),
    fields={
        "type": (0, Text()),
        "version": (1, Text()),
        "time": (2, Text()),
        "chip": (3, Text()),
        "net": (4, VectorOf(element=NETWORK)),
        "neuron_size": (5, _U64),
        "kernel_module": (6, MODULE),
        "device_count": (7, _U32),
        "cpu_module": (8, MODULE),
    },
)
