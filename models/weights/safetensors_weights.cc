// safetensors as a weight file, and the models that fovea itself saves in that format.
#include "core/io/safetensors.h"
#include "models/weights/weight_file.h"

namespace fovea::weights {

WeightFile parse_safetensors_weights(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                                     const std::string& where) {
  Safetensors parsed = parse_safetensors(bytes, std::move(owner), where);
  WeightFile file;
  file.path = where;
  file.metadata = std::move(parsed.metadata);
  file.format = file.find_metadata("fovea.version") ? "fovea model" : "safetensors";
  file.tensors.reserve(parsed.tensors.size());
  for (auto& [name, tensor] : parsed.tensors) {
    FileTensor entry{name, tensor.shape(), tensor.dtype(), {}};
    entry.read = [tensor = std::move(tensor)] { return tensor; };
    file.tensors.push_back(std::move(entry));
  }
  return file;
}

}  // namespace fovea::weights
