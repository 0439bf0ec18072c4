// safetensors as a weight file, and the models that fovea itself saves in that format.
#include "core/io/safetensors.h"
#include "models/weights/raw_tensor_internal.h"
#include "models/weights/weight_file.h"

namespace fovea::weights {
namespace {

Element element_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return Element::f32;
    case DType::f64: return Element::f64;
    case DType::bf16: return Element::bf16;
    case DType::f16: return Element::f16;
    case DType::i8: return Element::i8;
    case DType::u8: return Element::u8;
    case DType::i32: return Element::i32;
    case DType::i64: return Element::i64;
  }
  return Element::unsupported;
}

}  // namespace

WeightFile parse_safetensors_weights(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                                     const std::string& where) {
  SafetensorsIndex index = index_safetensors(bytes, where);
  WeightFile file;
  file.path = where;
  file.metadata = std::move(index.metadata);
  file.format = file.find_metadata("fovea.version") ? "fovea model" : "safetensors";
  file.tensors.reserve(index.entries.size());
  for (SafetensorsIndex::Entry& entry : index.entries) {
    RawTensor raw;
    raw.shape = entry.spec.shape;
    raw.element = element_of(entry.spec.dtype);
    raw.data = entry.bytes.data();
    // Headers of odd length put every tensor at an odd address. Copying only what is read keeps the peak of memory at
    // one tensor instead of the file.
    file.tensors.push_back(
        {std::move(entry.name), raw.shape, entry.spec.dtype, [raw, owner] { return raw.read(owner); }});
  }
  return file;
}

}  // namespace fovea::weights
