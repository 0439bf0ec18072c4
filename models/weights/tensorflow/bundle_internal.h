// The entries of a TensorFlow checkpoint (a "tensor bundle"), before anything is decided about their names.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/weights/raw_tensor_internal.h"
#include "models/weights/weight_file.h"

namespace fovea::weights::tensorflow {

struct BundleEntry {
  int dtype = 0;  // TensorFlow's number
  std::vector<std::int64_t> shape;
  std::int64_t shard = 0, offset = 0, size = 0;
  std::uint32_t crc = 0;
  bool sliced = false;
};

class Bundle {
 public:
  Bundle(std::span<const std::uint8_t> index, const std::function<CheckpointShard(int, int)>& shard,
         const std::string& where);

  const std::map<std::string, BundleEntry>& entries() const { return entries_; }
  const std::string& where() const { return where_; }

  /// Whether the entry is numbers: strings, resources and variants are not.
  static bool is_numbers(const BundleEntry& entry);
  /// Error{format} if the data does not lie in its file or its size is not that of its shape.
  FileTensor tensor(const std::string& name, const BundleEntry& entry);
  /// The only element of a string tensor, with its checksums verified. Its bytes lie in the data file.
  std::span<const std::uint8_t> string(const std::string& name, const BundleEntry& entry);

 private:
  struct DataFile {
    CheckpointShard shard;
    std::uint64_t used = 0;  // bytes of the tensors made so far: they do not overlap
  };

  [[noreturn]] void damaged(const std::string& name, const std::string& what) const;
  DataFile& data_file(const std::string& name, std::int64_t number);
  std::span<std::uint8_t> bytes_of(const std::string& name, const BundleEntry& entry);

  const std::function<CheckpointShard(int, int)>& open_shard_;
  std::string where_;
  std::map<std::string, BundleEntry> entries_;
  std::map<std::int64_t, DataFile> files_;
  std::int64_t num_shards_ = 0;
  bool big_endian_ = false;
};

}  // namespace fovea::weights::tensorflow
