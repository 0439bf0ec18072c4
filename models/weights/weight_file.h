// A weight file of any format as a list of named tensors, in the names and layouts of the framework that wrote it. What
// the names mean is models/weights/layouts' business; here only bytes are understood.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace fovea::weights {

struct FileTensor {
  std::string name;  ///< as the file spells it, without wrappers: "features.0.0.weight", "Conv1/kernel"
  Shape shape;       ///< in the file's own axis order
  DType dtype = DType::f32;
  /// The values, dense and row-major in `shape`. A view of the mapped file where the bytes lie there as they are, a new
  /// tensor otherwise (strided, compressed, big-endian). Nothing is read or decompressed before this is called.
  /// Error{format} for damage that shows only now.
  std::function<Tensor()> read;
};

struct FOVEA_API WeightFile {
  std::string path;
  std::string format;  ///< one of the names below, for people
  std::vector<FileTensor> tensors;
  /// What else the file says: "keras.config" (the JSON of model_config or config.json), "keras.version",
  /// "fovea.…", safetensors' own keys, "pytorch.wrapper" ("state_dict": where the tensors were found).
  std::vector<std::pair<std::string, std::string>> metadata;

  /// nullptr if there is none.
  const FileTensor* find(std::string_view name) const;
  const std::string* find_metadata(std::string_view key) const;
};

/// Opens a weight file by its content, never by its name: safetensors, Keras HDF5 (.h5, .weights.h5), Keras 3 zip
/// (.keras), PyTorch zip and pre-1.6 pickles, TensorFlow checkpoints (PREFIX, PREFIX.index, a SavedModel folder or its
/// variables/ folder). Error{file} if it cannot be read, Error{format} for damage or for a format that is none of these
/// (saying what it looks like; of the other files of a checkpoint, which one to pass instead). Nothing in a file is
/// ever executed, and no other file is opened but the shards of a TensorFlow checkpoint beside its index.
FOVEA_API WeightFile read_weight_file(const std::string& path);

// One reader per format. Each takes memory that `owner` keeps alive (usually a MappedFile) and names errors by `where`;
// the tensors keep `owner` alive. That is also what the fuzz targets call.

/// HDF5 as h5py and Keras write it: "Keras HDF5 model", "Keras HDF5 weights", "Keras 3 weights".
WeightFile parse_hdf5(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, const std::string& where);
/// "Keras 3 archive" (.keras).
WeightFile parse_keras_zip(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, const std::string& where);
/// "PyTorch zip".
WeightFile parse_pytorch_zip(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                             const std::string& where);
/// "PyTorch pickle (before 1.6)".
WeightFile parse_pytorch_pickle(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                                const std::string& where);
/// "safetensors" or "fovea model".
WeightFile parse_safetensors_weights(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                                     const std::string& where);
/// "TensorFlow checkpoint": the bytes of the .index file; `shard(i, n)` gives the i-th of n data files (or throws).
struct CheckpointShard {
  std::span<std::uint8_t> bytes;
  std::shared_ptr<const void> owner;
};
WeightFile parse_tf_checkpoint(std::span<std::uint8_t> index, std::shared_ptr<const void> owner,
                               const std::function<CheckpointShard(int, int)>& shard, const std::string& where);

}  // namespace fovea::weights
