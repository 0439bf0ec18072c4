// The safetensors format (https://github.com/huggingface/safetensors): 8 bytes little-endian header length, a JSON
// header, tensor data. Read strictly, since files are hostile until proven otherwise; written so that any reader
// accepts it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace fovea {

struct FOVEA_API Safetensors {
  std::vector<std::pair<std::string, Tensor>> tensors;  ///< in file order
  std::vector<std::pair<std::string, std::string>> metadata;

  /// Undefined if there is none of that name.
  Tensor find(std::string_view name) const;
  /// nullptr if there is none.
  const std::string* find_metadata(std::string_view key) const;
};

/// Element types F64, F32, F16, BF16, I64, I32, I8, U8 and BOOL (as u8); others are refused by name. Error{format} for
/// a header that is no JSON, names a tensor twice, has offsets that overlap, leave gaps or do not match shape and type,
/// or reach past the end. The tensors share the file's (private) mapping: nothing is read before it is touched, and
/// the memory of a large tensor is given back with the tensor.
FOVEA_API Safetensors read_safetensors(const std::string& path);
/// The same from memory that `owner` keeps alive. `where` names the source in errors.
FOVEA_API Safetensors parse_safetensors(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                                        const std::string& where);
/// What parse_safetensors() checks, without making tensors: their bytes may lie at any address.
struct FOVEA_API SafetensorsIndex {
  struct Entry {
    std::string name;
    TensorSpec spec;
    std::span<std::uint8_t> bytes;
  };
  std::vector<Entry> entries;  ///< in file order
  std::vector<std::pair<std::string, std::string>> metadata;
};
FOVEA_API SafetensorsIndex index_safetensors(std::span<std::uint8_t> bytes, const std::string& where);
/// Atomic. Tensors are stored in the given order within each element size, larger elements first, so that all are
/// aligned.
FOVEA_API void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                                 const std::vector<std::pair<std::string, std::string>>& metadata = {});

}  // namespace fovea
