// The closed list of Python names that mean something in a PyTorch file.
#pragma once

#include <cstdint>
#include <string_view>

#include "models/weights/raw_tensor_internal.h"

namespace fovea::weights::pytorch {

enum class Known : std::uint8_t {
  nothing,  ///< any name outside the list: never called, only remembered
  dict,     ///< collections.OrderedDict and its like
  set,      ///< before protocol 4 a set is a call of its class
  tuple,    ///< torch.Size
  storage_type,
  dtype,
  rebuild_tensor,       ///< (storage, offset, sizes, strides, ...): _rebuild_tensor and _rebuild_tensor_v2
  rebuild_tensor_v3,    ///< the same with the element type in place 6, over an untyped storage
  rebuild_quantized,    ///< (storage, offset, sizes, strides, quantizer, ...)
  rebuild_parameter,    ///< (tensor, ...): also _rebuild_parameter_with_state
  rebuild_from_type,    ///< (function, type, arguments, state): a subclass of Tensor
  rebuild_unsupported,  ///< sparse, nested, meta, XLA and other tensors without plain values
};

struct Global {
  std::string_view module, name;  // in the pickle
  Known known = Known::nothing;
  Element element = Element::unsupported;  // of a storage type or dtype
  std::int64_t element_bytes = 0;
};

Global resolve_global(std::string_view module, std::string_view name);

}  // namespace fovea::weights::pytorch
