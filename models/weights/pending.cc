// Readers that are not written yet. Each definition goes when its reader lands; the file goes with the last.
#include "core/error.h"
#include "models/weights/weight_file.h"

namespace fovea::weights {
namespace {
[[noreturn]] void pending(const std::string& where) {
  throw Error(ErrorKind::format, where, "this format is not read yet");
}
}  // namespace

WeightFile parse_hdf5(std::span<std::uint8_t>, std::shared_ptr<const void>, const std::string& where) {
  pending(where);
}
WeightFile parse_keras_zip(std::span<std::uint8_t>, std::shared_ptr<const void>, const std::string& where) {
  pending(where);
}

}  // namespace fovea::weights
