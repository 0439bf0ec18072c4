// A labelled collection of images, and the ways to combine collections: from memory, a part of one, several in a row.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "image/image.h"

namespace fovea {

class FOVEA_API Dataset {
 public:
  virtual ~Dataset();
  virtual std::int64_t size() const = 0;
  /// The decoded picture of item i in [0, size()). Thread-safe. Throws Error{file/format} naming the file when it
  /// cannot be read.
  virtual image::Image image(std::int64_t i) const = 0;
  /// Class of item i in [0, class_names().size()), without decoding anything.
  virtual std::int64_t label(std::int64_t i) const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  /// Where item i comes from, for messages and reports: a path, or "train-images#17".
  virtual std::string name(std::int64_t i) const = 0;
  /// The group (patient, camera, …) item i belongs to; empty where unknown. Splits never cut a group.
  virtual std::string group(std::int64_t i) const;
  /// The side, in pixels, to which its owner wants pictures brought for training where the model does not say; 0: no
  /// wish. image() itself never resizes for this: the model's preprocessing does, so that nothing is resized twice.
  virtual int image_size() const;
  /// True when image() only copies memory, so that caching its results gains nothing.
  virtual bool in_memory() const;
  /// What a person should know about this data though it can be used: files skipped because of their format, say.
  virtual std::vector<std::string> warnings() const;

  std::int64_t num_classes() const { return static_cast<std::int64_t>(class_names().size()); }
};
using DatasetPtr = std::shared_ptr<const Dataset>;

/// How many items each class has, [num_classes()].
FOVEA_API std::vector<std::int64_t> class_counts(const Dataset& dataset);
/// Sampling weights that draw every class equally often: 1 / count of the item's class, [size()]. For
/// LoaderOptions::sample_weights.
FOVEA_API std::vector<double> balanced_weights(const Dataset& dataset);

/// Pictures that are already in memory.
class FOVEA_API TensorDataset final : public Dataset {
 public:
  /// @param images u8 [N,H,W,C], C 1 or 3; shared, not copied: do not write to it afterwards
  /// @param labels N values in [0, class_names.size())
  /// Error{shape} for other shapes or element types, Error{usage} for a label out of range.
  TensorDataset(Tensor images, std::vector<std::int64_t> labels, std::vector<std::string> class_names);

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  image::Image image(std::int64_t i) const override;
  std::int64_t label(std::int64_t i) const override;
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string name(std::int64_t i) const override;
  bool in_memory() const override { return true; }

 private:
  Tensor images_;
  std::vector<std::int64_t> labels_;
  std::vector<std::string> class_names_;
};

/// Some items of another dataset, in the given order (repetition allowed).
class FOVEA_API Subset final : public Dataset {
 public:
  /// Error{usage} for an index outside the dataset.
  Subset(DatasetPtr dataset, std::vector<std::int64_t> indices);

  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  image::Image image(std::int64_t i) const override { return dataset_->image(at(i)); }
  std::int64_t label(std::int64_t i) const override { return dataset_->label(at(i)); }
  const std::vector<std::string>& class_names() const override { return dataset_->class_names(); }
  std::string name(std::int64_t i) const override { return dataset_->name(at(i)); }
  std::string group(std::int64_t i) const override { return dataset_->group(at(i)); }
  int image_size() const override { return dataset_->image_size(); }
  bool in_memory() const override { return dataset_->in_memory(); }

  const std::vector<std::int64_t>& indices() const { return indices_; }
  const DatasetPtr& whole() const { return dataset_; }

 private:
  std::int64_t at(std::int64_t i) const;
  DatasetPtr dataset_;
  std::vector<std::int64_t> indices_;
};

/// Several datasets of the same classes, one after the other. Error{usage} for none, or where class names differ.
FOVEA_API DatasetPtr concatenate(std::vector<DatasetPtr> parts);

struct SplitOptions {
  double val = 0.2;   ///< share kept for validation, in [0, 1)
  double test = 0.0;  ///< share kept for testing, in [0, 1); val + test < 1
  std::uint64_t seed = 0;
  bool stratified = true;  ///< keep the mix of classes in every part
};

/// What split() gives. `auto [train, val] = split(…)` takes the first two; `test` is reached by name.
struct Splits {
  DatasetPtr train;
  DatasetPtr val;
  DatasetPtr test;                    ///< empty unless SplitOptions::test > 0
  std::vector<std::string> warnings;  ///< such as "class 'owl' has only one picture, which stays in train"
};
template <std::size_t I>
const DatasetPtr& get(const Splits& splits) {
  if constexpr (I == 0) {
    return splits.train;
  } else {
    return splits.val;
  }
}

/// Divides a dataset at random, the same way for the same seed on every machine. Items of one group (Dataset::group)
/// stay together. Stratified: each class is divided by the method of largest remainders, so parts have the size asked
/// for; then every class with at least 2 pictures (3 with a test part) gets one in each part, and a class with fewer
/// keeps them in train, with a warning. With groups the shares are met as closely as whole groups allow. Error{usage}
/// for shares out of range or an empty dataset.
FOVEA_API Splits split(DatasetPtr dataset, const SplitOptions& options = {});

}  // namespace fovea

template <>
struct std::tuple_size<fovea::Splits> : std::integral_constant<std::size_t, 2> {};
template <std::size_t I>
struct std::tuple_element<I, fovea::Splits> {
  using type = const fovea::DatasetPtr;
};
