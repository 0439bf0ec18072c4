// Damaged safetensors files: every header that is accepted must describe memory that is really there.
#include <cstring>
#include <memory>

#include "core/error.h"
#include "core/io/safetensors.h"
#include "fuzz/driver.h"
#include "fuzz/seed_files.h"
#include "models/weights/weight_file.h"

namespace {

std::string file_of(const std::string& header, std::size_t data_bytes) {
  std::string out(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(out.data(), &length, 8);
  return out + header + std::string(data_bytes, '\1');
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds = {
      file_of(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
      file_of(
          R"({"__metadata__":{"ops":"[]","k":"v"},"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
          R"("b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]},"e":{"dtype":"I8","shape":[0],"data_offsets":[16,16]}})",
          16),
      file_of("{}", 0),
  };
  fuzz::add_golden(seeds, {".safetensors"});
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size on the heap: one byte too far is seen by the sanitizer.
  const auto bytes = std::make_shared<std::vector<std::uint8_t>>(data, data + size);
  try {
    const fovea::Safetensors file = fovea::parse_safetensors(*bytes, bytes, "fuzz");
    unsigned sum = 0;
    for (const auto& [name, tensor] : file.tensors) {
      const auto* p = static_cast<const std::uint8_t*>(tensor.view().data);
      for (std::size_t i = 0; i < tensor.nbytes(); ++i) sum += p[i];
    }
    for (const auto& entry : fovea::weights::parse_safetensors_weights(*bytes, bytes, "fuzz").tensors) {
      const fovea::Tensor tensor = entry.read();
      const auto* p = static_cast<const std::uint8_t*>(tensor.view().data);
      for (std::size_t i = 0; i < tensor.nbytes(); ++i) sum += p[i];
    }
    [[maybe_unused]] const volatile unsigned sink = sum;  // so that the reads are not left out
  } catch (const fovea::Error&) {
    // the right answer to damage
  }
  return 0;
}
