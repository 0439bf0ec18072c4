// Datasets in memory and combinations of datasets.
#include "augment/dataset.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace fovea {

Dataset::~Dataset() = default;
std::string Dataset::group(std::int64_t) const { return {}; }
int Dataset::image_size() const { return 0; }
bool Dataset::in_memory() const { return false; }
std::vector<std::string> Dataset::warnings() const { return {}; }

namespace {

[[noreturn]] void bad_index(const char* where, std::int64_t i, std::int64_t size) {
  throw Error(ErrorKind::usage, where, str("there is no item ", i, ": the dataset has ", size));
}

}  // namespace

std::vector<std::int64_t> class_counts(const Dataset& dataset) {
  std::vector<std::int64_t> counts(dataset.class_names().size());
  for (std::int64_t i = 0; i < dataset.size(); ++i) ++counts.at(static_cast<std::size_t>(dataset.label(i)));
  return counts;
}

std::vector<double> balanced_weights(const Dataset& dataset) {
  const std::vector<std::int64_t> counts = class_counts(dataset);
  std::vector<double> weights(static_cast<std::size_t>(dataset.size()));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] =
        1.0 / static_cast<double>(counts[static_cast<std::size_t>(dataset.label(static_cast<std::int64_t>(i)))]);
  }
  return weights;
}

// ---- TensorDataset

TensorDataset::TensorDataset(Tensor images, std::vector<std::int64_t> labels, std::vector<std::string> class_names)
    : images_(std::move(images)), labels_(std::move(labels)), class_names_(std::move(class_names)) {
  const char* where = "TensorDataset";
  if (!images_.defined() || images_.dtype() != DType::u8 || images_.rank() != 4) {
    throw Error(ErrorKind::shape, where,
                str("expects pictures as u8 [N,H,W,C], got ", images_.defined() ? images_.to_string() : "nothing"));
  }
  const std::int64_t channels = images_.dim(3);
  if (channels != 1 && channels != 3) {
    throw Error(ErrorKind::shape, where, str("pictures have 1 or 3 channels, these have ", channels),
                "the layout is NHWC: channels come last");
  }
  if (images_.dim(1) < 1 || images_.dim(2) < 1 || images_.dim(1) > 1 << 20 || images_.dim(2) > 1 << 20) {
    throw Error(ErrorKind::shape, where, str("pictures of ", images_.dim(2), "x", images_.dim(1), " pixels"));
  }
  if (images_.dim(0) != static_cast<std::int64_t>(labels_.size())) {
    throw Error(ErrorKind::shape, where, str(images_.dim(0), " pictures but ", labels_.size(), " labels"));
  }
  const auto classes = static_cast<std::int64_t>(class_names_.size());
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    if (labels_[i] < 0 || labels_[i] >= classes) {
      throw Error(ErrorKind::usage, where,
                  str("label ", labels_[i], " of item ", i, " is not below ", classes, " classes"));
    }
  }
}

image::Image TensorDataset::image(std::int64_t i) const {
  if (i < 0 || i >= size()) bad_index("TensorDataset", i, size());
  image::Image out;
  out.height = static_cast<int>(images_.dim(1));
  out.width = static_cast<int>(images_.dim(2));
  out.channels = static_cast<int>(images_.dim(3));
  const std::int64_t bytes = images_.dim(1) * images_.dim(2) * images_.dim(3);
  const std::uint8_t* from = images_.data<std::uint8_t>() + i * bytes;
  out.pixels.assign(from, from + bytes);
  return out;
}

std::int64_t TensorDataset::label(std::int64_t i) const {
  if (i < 0 || i >= size()) bad_index("TensorDataset", i, size());
  return labels_[static_cast<std::size_t>(i)];
}

std::string TensorDataset::name(std::int64_t i) const { return str("memory#", i); }

// ---- Subset

Subset::Subset(DatasetPtr dataset, std::vector<std::int64_t> indices)
    : dataset_(std::move(dataset)), indices_(std::move(indices)) {
  if (!dataset_) throw Error(ErrorKind::usage, "Subset", "no dataset was given");
  // A subset of a subset refers to the whole directly: long chains of splits cost nothing.
  if (const auto* inner = dynamic_cast<const Subset*>(dataset_.get())) {
    for (std::int64_t& i : indices_) i = inner->at(i);
    dataset_ = DatasetPtr(inner->dataset_);
  }
  const std::int64_t size = dataset_->size();
  for (const std::int64_t i : indices_) {
    if (i < 0 || i >= size) bad_index("Subset", i, size);
  }
}

std::int64_t Subset::at(std::int64_t i) const {
  if (i < 0 || i >= size()) bad_index("Subset", i, size());
  return indices_[static_cast<std::size_t>(i)];
}

// ---- concatenate

namespace {

class Concatenation final : public Dataset {
 public:
  explicit Concatenation(std::vector<DatasetPtr> parts) : parts_(std::move(parts)) {
    for (const DatasetPtr& part : parts_) {
      begins_.push_back(size_);
      size_ += part->size();
    }
  }
  std::int64_t size() const override { return size_; }
  image::Image image(std::int64_t i) const override {
    const auto [part, local] = locate(i);
    return part->image(local);
  }
  std::int64_t label(std::int64_t i) const override {
    const auto [part, local] = locate(i);
    return part->label(local);
  }
  const std::vector<std::string>& class_names() const override { return parts_.front()->class_names(); }
  std::string name(std::int64_t i) const override {
    const auto [part, local] = locate(i);
    return part->name(local);
  }
  std::string group(std::int64_t i) const override {
    const auto [part, local] = locate(i);
    return part->group(local);
  }
  int image_size() const override { return parts_.front()->image_size(); }
  bool in_memory() const override {
    return std::all_of(parts_.begin(), parts_.end(), [](const DatasetPtr& part) { return part->in_memory(); });
  }
  std::vector<std::string> warnings() const override {
    std::vector<std::string> all;
    for (const DatasetPtr& part : parts_) {
      for (std::string& warning : part->warnings()) all.push_back(std::move(warning));
    }
    return all;
  }

 private:
  std::pair<const Dataset*, std::int64_t> locate(std::int64_t i) const {
    if (i < 0 || i >= size_) bad_index("concatenate", i, size_);
    // The last part that begins at or before i; empty parts begin where the next one does and are passed over.
    const auto part = std::upper_bound(begins_.begin(), begins_.end(), i) - begins_.begin() - 1;
    return {parts_[static_cast<std::size_t>(part)].get(), i - begins_[static_cast<std::size_t>(part)]};
  }

  std::vector<DatasetPtr> parts_;
  std::vector<std::int64_t> begins_;
  std::int64_t size_ = 0;
};

}  // namespace

DatasetPtr concatenate(std::vector<DatasetPtr> parts) {
  const char* where = "concatenate";
  if (parts.empty()) throw Error(ErrorKind::usage, where, "no datasets were given");
  for (std::size_t k = 0; k < parts.size(); ++k) {
    if (!parts[k]) throw Error(ErrorKind::usage, where, str("dataset ", k, " is null"));
    const std::vector<std::string>&a = parts[0]->class_names(), &b = parts[k]->class_names();
    if (a == b) continue;
    std::string what = str("dataset 0 has ", a.size(), " classes, dataset ", k, " has ", b.size());
    if (a.size() == b.size()) {
      const auto at = std::mismatch(a.begin(), a.end(), b.begin());
      what = str("class ", at.first - a.begin(), " is '", *at.first, "' in dataset 0 and '", *at.second,
                 "' in dataset ", k);
    }
    throw Error(ErrorKind::usage, where, what, "open both with the same class_names");
  }
  if (parts.size() == 1) return parts.front();
  return std::make_shared<Concatenation>(std::move(parts));
}

}  // namespace fovea
