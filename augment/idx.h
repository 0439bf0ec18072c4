// MNIST, Fashion-MNIST and everything else in IDX files (http://yann.lecun.com/exdb/mnist), gzipped or plain.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "augment/dataset.h"

namespace fovea {

/// The content of one IDX file of unsigned bytes: big-endian magic 0x00000800 + rank, then the extents, then the
/// values.
struct IdxArray {
  Shape shape;
  std::vector<std::uint8_t> values;
};

/// Parses IDX bytes, inflating them first when they are gzip. `name` goes into error texts.
/// Errors: format (wrong magic, element type other than u8, rank outside 1 to 4, shorter or longer than the header
/// says, damaged or truncated gzip), memory (more than max_bytes of values, or more than the compressed bytes can hold:
/// nothing is allocated on the word of a header alone).
FOVEA_API IdxArray parse_idx(std::span<const std::uint8_t> bytes, const std::string& name = "idx",
                             std::uint64_t max_bytes = std::uint64_t{1} << 32);
FOVEA_API IdxArray read_idx(const std::string& path);

struct IdxOptions {
  /// Empty: Fashion-MNIST's names where the path says "fashion", else "0" to the highest label (at least "9").
  std::vector<std::string> class_names;
};

class FOVEA_API IdxDataset final : public Dataset {
 public:
  /// @param images_path u8 [N,H,W] or [N,H,W,C], C 1 or 3
  /// @param labels_path u8 [N]
  /// Errors: file, format as parse_idx; format where the counts differ or a label has no class.
  IdxDataset(const std::string& images_path, const std::string& labels_path, const IdxOptions& options = {});
  /// The four files under their usual names in one folder, each with or without .gz ("train-images-idx3-ubyte" or
  /// "train-images.idx3-ubyte").
  /// @param split "train" or "test" ("val" means the same)
  /// Error{file} naming what is missing and where it was looked for.
  static IdxDataset open(const std::string& folder, const std::string& split, const IdxOptions& options = {});
  /// True where `folder` holds the images and labels of `split`.
  static bool found_in(const std::string& folder, const std::string& split);

  std::int64_t size() const override { return pictures_.size(); }
  image::Image image(std::int64_t i) const override { return pictures_.image(i); }
  std::int64_t label(std::int64_t i) const override { return pictures_.label(i); }
  const std::vector<std::string>& class_names() const override { return pictures_.class_names(); }
  std::string name(std::int64_t i) const override;
  bool in_memory() const override { return true; }

  /// A seeded random division into train and val; see split() in augment/dataset.h.
  Splits split(const SplitOptions& options = {}) const {
    return fovea::split(std::make_shared<IdxDataset>(*this), options);
  }

 private:
  std::string name_;
  TensorDataset pictures_;
};

/// "T-shirt/top", "Trouser", … in the order of the labels.
FOVEA_API std::vector<std::string> fashion_mnist_classes();

}  // namespace fovea
