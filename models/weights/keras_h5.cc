// Keras' HDF5 files: whole models and weights of Keras 1 and 2 (which Keras 3 still writes as "legacy"), whose groups
// are named by layer, and Keras 3's .weights.h5, whose groups are named by class (models/weights/keras_names.h).
#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "models/weights/keras_h5_internal.h"

namespace fovea::weights {

namespace keras {

const hdf5::Attribute* find(const std::vector<hdf5::Attribute>& attributes, std::string_view name) {
  const auto at =
      std::find_if(attributes.begin(), attributes.end(), [&](const hdf5::Attribute& a) { return a.name == name; });
  return at == attributes.end() ? nullptr : &*at;
}

std::optional<std::string> text(hdf5::File& file, const std::vector<hdf5::Attribute>& attributes,
                                std::string_view name) {
  const hdf5::Attribute* found = find(attributes, name);
  using Kind = hdf5::Type::Kind;
  if (!found || found->count != 1) return std::nullopt;
  if (found->type.kind != Kind::fixed_string && found->type.kind != Kind::vlen_string) return std::nullopt;
  return file.strings(*found)[0];
}

}  // namespace keras

namespace {

using hdf5::Attribute;
using hdf5::Dataset;
using hdf5::File;
using keras::Named;

/// Gives every tensor the shortest of its names that no other has.
void settle_names(std::vector<Named>& tensors, const std::string& where) {
  for (int round = 0; round < 2; ++round) {
    std::map<std::string, std::size_t> count;
    for (const Named& tensor : tensors) ++count[tensor.name];
    for (Named& tensor : tensors) {
      if (count[tensor.name] > 1) tensor.name = round == 0 ? tensor.longer : tensor.longest;
    }
  }
  std::set<std::string_view> all;
  for (const Named& tensor : tensors) {
    if (!all.insert(tensor.name).second) {
      throw Error(ErrorKind::format, where, str("two tensors are named '", tensor.name, "'"));
    }
  }
}

void add_tensors(const std::shared_ptr<File>& file, std::vector<Named>& tensors, WeightFile& out) {
  settle_names(tensors, file->where());
  std::map<std::string_view, std::size_t> models;
  for (const Named& tensor : tensors) {
    if (!tensor.model.empty()) ++models[tensor.model];
  }
  if (!models.empty()) {
    const auto largest = std::max_element(models.begin(), models.end(),
                                          [](const auto& a, const auto& b) { return a.second < b.second; });
    out.metadata.emplace_back("keras.submodel", largest->first);
  }
  std::uint64_t total = 0;
  bool packed = false;
  for (const Named& tensor : tensors) {
    Dataset dataset = file->dataset(tensor.address, tensor.name);
    const std::optional<DType> dtype = File::element_type(dataset.type);
    if (!dtype) {
      throw Error(ErrorKind::format, file->where(),
                  str("'", tensor.name, "' holds ", dataset.type.name, ", not numbers that are weights"));
    }
    // Values of different tensors do not share their place in a file, and weights are noise that packs badly: a small
    // file that names a large part of itself thousands of times, or is one of zeros, is made to harm.
    total += dataset.unpacked;
    packed = packed || !dataset.filters.empty();
    if (total > file->size() * (packed ? 64 : 2) + ((packed ? 64u : 1u) << 20)) {
      throw Error(ErrorKind::format, file->where(), "its tensors are together far larger than the file");
    }
    std::vector<std::int64_t> dims(dataset.space.dims.begin(), dataset.space.dims.end());
    if (dataset.space.null) dims = {0};
    FileTensor item{tensor.name, Shape(std::span<const std::int64_t>(dims)), *dtype, {}};
    item.read = [file, kept = std::make_shared<const Dataset>(std::move(dataset))] { return file->read(*kept); };
    out.tensors.push_back(std::move(item));
  }
  file->forget();
}

void read_legacy(const std::shared_ptr<File>& file, std::uint64_t group, const std::vector<Attribute>& root,
                 WeightFile& out) {
  const std::vector<Attribute> own = group == file->root() ? root : file->attributes(group);
  for (const char* key : {"keras_version", "backend"}) {
    std::optional<std::string> value = keras::text(*file, root, key);
    if (!value) value = keras::text(*file, own, key);
    if (value)
      out.metadata.emplace_back(key == std::string_view("backend") ? "keras.backend" : "keras.version", *value);
  }
  const std::optional<std::string> config = keras::text(*file, root, "model_config");
  std::vector<Named> tensors = keras::legacy_tensors(*file, group, config);
  if (config) out.metadata.emplace_back("keras.config", *config);
  add_tensors(file, tensors, out);
}

void read_version3(const std::shared_ptr<File>& file, const std::string* config, WeightFile& out) {
  std::string source;
  std::vector<Named> tensors = keras::version3_tensors(*file, config, source);
  out.metadata.emplace_back("keras.names", source);
  add_tensors(file, tensors, out);
}

}  // namespace

void read_keras_weights(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, const std::string& where,
                        const std::string* config, WeightFile& out) {
  const auto file = std::make_shared<File>(bytes, std::move(owner), where);
  read_version3(file, config, out);
}

WeightFile parse_hdf5(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, const std::string& where) {
  const auto file = std::make_shared<File>(bytes, std::move(owner), where);
  WeightFile out;
  const std::vector<Attribute> root = file->attributes(file->root());
  if (keras::find(root, "layer_names") || keras::find(root, "layer_names0")) {
    out.format = "Keras HDF5 weights";
    read_legacy(file, file->root(), root, out);
  } else if (const std::optional<std::uint64_t> group = file->find(file->root(), "model_weights")) {
    out.format = "Keras HDF5 model";
    read_legacy(file, *group, root, out);
  } else {
    out.format = "Keras 3 weights";
    read_version3(file, nullptr, out);
    if (out.tensors.empty()) {
      std::string found;
      for (const auto& [name, link] : file->group(file->root()).links) {
        if (found.size() < 60) found += (found.empty() ? "'" : ", '") + name + "'";
      }
      throw Error(ErrorKind::format, where,
                  str("is an HDF5 file, but not one of Keras weights: it has ", found.empty() ? "nothing" : found),
                  "expected are the groups that Keras' save() or save_weights() writes");
    }
  }
  return out;
}

}  // namespace fovea::weights
