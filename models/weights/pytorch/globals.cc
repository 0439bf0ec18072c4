#include "models/weights/pytorch/globals_internal.h"

namespace fovea::weights::pytorch {
namespace {

struct Entry {
  std::string_view module, name;
  Known known;
};

constexpr Entry kNames[] = {
    {"collections", "OrderedDict", Known::dict},
    {"collections", "defaultdict", Known::dict},
    {"builtins", "dict", Known::dict},
    {"__builtin__", "dict", Known::dict},
    {"builtins", "set", Known::set},
    {"__builtin__", "set", Known::set},
    {"torch", "Size", Known::tuple},
    {"torch._utils", "_rebuild_tensor", Known::rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v2", Known::rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v3", Known::rebuild_tensor_v3},
    {"torch._utils", "_rebuild_qtensor", Known::rebuild_quantized},
    {"torch._utils", "_rebuild_parameter", Known::rebuild_parameter},
    {"torch._utils", "_rebuild_parameter_with_state", Known::rebuild_parameter},
    {"torch._tensor", "_rebuild_from_type", Known::rebuild_from_type},
    {"torch._tensor", "_rebuild_from_type_v2", Known::rebuild_from_type},
    {"torch.tensor", "_rebuild_from_type", Known::rebuild_from_type},
};

struct Type {
  std::string_view storage, dtype, alias;
  Element element;
  std::int64_t bytes;
};

constexpr Type kTypes[] = {
    {"FloatStorage", "float32", "float", Element::f32, 4},
    {"DoubleStorage", "float64", "double", Element::f64, 8},
    {"HalfStorage", "float16", "half", Element::f16, 2},
    {"BFloat16Storage", "bfloat16", "", Element::bf16, 2},
    {"ByteStorage", "uint8", "", Element::u8, 1},
    {"CharStorage", "int8", "", Element::i8, 1},
    {"ShortStorage", "int16", "short", Element::i16, 2},
    {"IntStorage", "int32", "int", Element::i32, 4},
    {"LongStorage", "int64", "long", Element::i64, 8},
    {"BoolStorage", "bool", "", Element::boolean, 1},
    {"UntypedStorage", "", "", Element::untyped, 1},
    {"ComplexFloatStorage", "complex64", "cfloat", Element::unsupported, 8},
    {"ComplexDoubleStorage", "complex128", "cdouble", Element::unsupported, 16},
    {"QUInt8Storage", "quint8", "", Element::unsupported, 1},
    {"QInt8Storage", "qint8", "", Element::unsupported, 1},
    {"QInt32Storage", "qint32", "", Element::unsupported, 4},
    {"QUInt4x2Storage", "quint4x2", "", Element::unsupported, 1},
    {"QUInt2x4Storage", "quint2x4", "", Element::unsupported, 1},
    {"", "uint16", "", Element::unsupported, 2},
    {"", "uint32", "", Element::unsupported, 4},
    {"", "uint64", "", Element::unsupported, 8},
    {"", "complex32", "chalf", Element::unsupported, 4},
    {"", "float8_e4m3fn", "", Element::unsupported, 1},
    {"", "float8_e5m2", "", Element::unsupported, 1},
    {"", "float8_e4m3fnuz", "", Element::unsupported, 1},
    {"", "float8_e5m2fnuz", "", Element::unsupported, 1},
};

}  // namespace

Global resolve_global(std::string_view module, std::string_view name) {
  Global global{module, name};
  for (const Entry& entry : kNames) {
    if (entry.module == module && entry.name == name) {
      global.known = entry.known;
      return global;
    }
  }
  if (module == "torch" || module == "torch.cuda" || module == "torch.storage") {
    for (const Type& type : kTypes) {
      if (!type.storage.empty() && name == type.storage) global.known = Known::storage_type;
      if (module == "torch" && !name.empty() && (name == type.dtype || name == type.alias)) {
        global.known = Known::dtype;
      }
      if (global.known != Known::nothing) {
        global.element = type.element;
        global.element_bytes = type.bytes;
        return global;
      }
    }
  }
  if (module == "torch._utils" && name.starts_with("_rebuild_")) global.known = Known::rebuild_unsupported;
  return global;
}

}  // namespace fovea::weights::pytorch
