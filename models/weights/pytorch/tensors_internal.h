// From a pickle's tensor records to tensors: finds the bytes of their storages and checks that every element lies
// there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "models/weights/pytorch/unpickler_internal.h"
#include "models/weights/weight_file.h"

namespace fovea::weights::pytorch {

struct StorageBytes {
  std::span<std::uint8_t> bytes;
  std::optional<std::uint32_t> crc;  ///< CRC-32 of all of `bytes`, checked before the first read
};
/// The bytes of the storage of that key; Error{format} if there are none.
using FindStorage = std::function<StorageBytes(std::string_view key)>;

/// What all tensors of a file share.
struct Source {
  std::shared_ptr<const void> owner;  ///< keeps the file's memory
  std::string where;
  std::size_t file_size = 0;
  bool big_endian = false;
};

class TensorMaker {
 public:
  TensorMaker(const Graph& graph, Source source, FindStorage find);
  ~TensorMaker();
  TensorMaker(const TensorMaker&) = delete;
  TensorMaker& operator=(const TensorMaker&) = delete;

  /// Error{format} where an element lies outside the storage, where storages contradict each other or the file, and for
  /// tensors that expand their storages to more memory than the file accounts for.
  FileTensor make(const std::string& name, const TensorRecord& record);

 private:
  struct Storage;
  std::shared_ptr<Storage> storage_of(const std::string& name, const StorageRecord& record);
  [[noreturn]] void damaged(const std::string& name, const std::string& what) const;

  const Graph& graph_;
  std::shared_ptr<const Source> source_;
  FindStorage find_;
  std::unordered_map<std::string_view, std::shared_ptr<Storage>> storages_;
  std::size_t expanded_ = 0;  // bytes of tensors that need memory of their own
};

}  // namespace fovea::weights::pytorch
