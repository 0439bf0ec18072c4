// Which reader a weight file goes to, by its first bytes.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/io/file.h"
#include "models/weights/weight_file.h"

namespace fovea::weights {
namespace {

namespace fs = std::filesystem;

bool starts_with(std::span<const std::uint8_t> bytes, std::string_view magic, std::size_t at = 0) {
  return bytes.size() >= at + magic.size() && std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
}

/// HDF5 may begin behind a user block of 512, 1024, 2048, … bytes.
bool is_hdf5(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kMagic("\x89HDF\r\n\x1a\n", 8);
  if (starts_with(bytes, kMagic)) return true;
  for (std::size_t at = 512; at + 8 <= bytes.size() && at <= 1 << 20; at *= 2) {
    if (starts_with(bytes, kMagic, at)) return true;
  }
  return false;
}

/// The last 8 bytes of a table file: TensorFlow's checkpoint index.
bool is_tf_index(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= 48 &&
         starts_with(bytes, std::string_view("\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8), bytes.size() - 8);
}

/// A Keras archive has config.json or model.weights.h5 among its members; PyTorch's have "…/data.pkl". Member names
/// stand uncompressed in the central directory, at the end.
bool zip_has(std::span<const std::uint8_t> bytes, std::string_view name) {
  const std::size_t tail = std::min<std::size_t>(bytes.size(), 4u << 20);
  const auto begin = bytes.end() - static_cast<std::ptrdiff_t>(tail);
  return std::search(begin, bytes.end(), name.begin(), name.end()) != bytes.end();
}

std::string looks_like(std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return "the file is empty";
  if (starts_with(bytes, "\x08") && zip_has(bytes.first(std::min<std::size_t>(bytes.size(), 64)), "pytorch"))
    return "it looks like an ONNX model";
  if (starts_with(bytes, "TFL3", 4)) return "it looks like a TensorFlow Lite model";
  if (starts_with(bytes, "\x1f\x8b")) return "it is compressed with gzip; unpack it first";
  if (starts_with(bytes, "GGUF")) return "it looks like a GGUF file";
  if (starts_with(bytes, "<!") || starts_with(bytes, "<h")) return "it is an HTML page: the download went wrong";
  if (starts_with(bytes, "version https://git-lfs"))
    return "it is a Git LFS pointer: fetch the file itself with `git lfs pull`";
  if (starts_with(bytes, "\xff\xd8\xff") || starts_with(bytes, "\x89PNG")) return "it is a picture";
  return "its first bytes belong to no format known here";
}

/// "model.ckpt" of "model.ckpt.data-00000-of-00001"; nothing for other names.
std::string prefix_of_data_file(const std::string& path) {
  constexpr std::string_view kPattern = ".data-#####-of-#####";
  if (path.size() <= kPattern.size()) return {};
  const std::size_t begin = path.size() - kPattern.size();
  for (std::size_t i = 0; i < kPattern.size(); ++i) {
    const char c = path[begin + i];
    if (kPattern[i] == '#' ? c < '0' || c > '9' : c != kPattern[i]) return {};
  }
  return path.substr(0, begin);
}

/// A checkpoint is several files, and people pass any of them.
[[noreturn]] void not_the_index(const std::string& path, std::string_view what, const std::string& prefix) {
  std::error_code ignored;
  const std::string index = prefix + ".index";
  const bool there = !prefix.empty() && fs::exists(index, ignored);
  throw Error(ErrorKind::format, path, str("is ", what, ", not its index, which says what is where in the data"),
              there            ? str("pass ", prefix, " or ", index)
              : prefix.empty() ? str("pass the checkpoint's file that ends in .index")
                               : str("pass ", index, ", once it is there: copy it from where this file is from"));
}

/// The text file that TensorFlow keeps beside checkpoints, naming the latest one as it was called where it was written.
std::string latest_checkpoint(std::span<const std::uint8_t> bytes, const std::string& path) {
  const std::string text(bytes.begin(), bytes.begin() + std::min<std::ptrdiff_t>(std::ssize(bytes), 4096));
  const std::size_t begin = text.find('"'), end = text.find('"', begin + 1);
  if (end == std::string::npos) return {};
  const fs::path beside = fs::path(path).parent_path() / fs::path(text.substr(begin + 1, end - begin - 1)).filename();
  std::error_code ignored;
  return fs::exists(beside.string() + ".index", ignored) ? beside.string() : std::string();
}

/// The files of a TensorFlow model that no reader takes. A data file may begin with any bytes, even those of a pickle.
void refuse_part_of_checkpoint(std::span<const std::uint8_t> bytes, const std::string& path) {
  if (const std::string prefix = prefix_of_data_file(path); !prefix.empty())
    not_the_index(path, "a data file of a TensorFlow checkpoint", prefix);
  if (path.ends_with(".meta") && starts_with(bytes, "\x0a"))
    not_the_index(path, "the graph of a TensorFlow checkpoint", path.substr(0, path.size() - std::strlen(".meta")));
  if (starts_with(bytes, "model_checkpoint_path:"))
    not_the_index(path, "the list of a folder's TensorFlow checkpoints", latest_checkpoint(bytes, path));
  if (fs::path(path).filename() == "saved_model.pb")
    throw Error(ErrorKind::format, path, "is the graph of a TensorFlow SavedModel, not its weights", "pass its folder");
}

CheckpointShard open_shard(const std::string& prefix, int i, int n) {
  char suffix[48];
  std::snprintf(suffix, sizeof suffix, ".data-%05d-of-%05d", i, n);
  const auto file = MappedFile::open(prefix + suffix);
  return {file->bytes(), file};
}

WeightFile read_checkpoint(const std::string& index) {
  const std::string prefix = index.substr(0, index.size() - std::strlen(".index"));
  const auto file = MappedFile::open(index);
  return parse_tf_checkpoint(
      file->bytes(), file, [prefix](int i, int n) { return open_shard(prefix, i, n); }, index);
}

WeightFile read_folder(const std::string& path) {
  for (const char* inside : {"variables/variables.index", "variables.index"}) {
    const std::string index = (fs::path(path) / inside).string();
    if (fs::exists(index)) return read_checkpoint(index);
  }
  throw Error(ErrorKind::file, path, "is a folder, but not a SavedModel: it has no variables/variables.index",
              "name the weight file in it");
}

}  // namespace

const FileTensor* WeightFile::find(std::string_view name) const {
  const auto at = std::find_if(tensors.begin(), tensors.end(), [&](const FileTensor& t) { return t.name == name; });
  return at == tensors.end() ? nullptr : &*at;
}

const std::string* WeightFile::find_metadata(std::string_view key) const {
  const auto at = std::find_if(metadata.begin(), metadata.end(), [&](const auto& m) { return m.first == key; });
  return at == metadata.end() ? nullptr : &at->second;
}

WeightFile read_weight_file(const std::string& path) {
  WeightFile out;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    out = read_folder(path);
  } else if (!fs::exists(path, ignored) && fs::exists(path + ".index", ignored)) {
    out = read_checkpoint(path + ".index");
  } else {
    const auto file = MappedFile::open(path);
    const std::span<std::uint8_t> bytes = file->bytes();
    if (is_hdf5(bytes)) {
      out = parse_hdf5(bytes, file, path);
    } else if (starts_with(bytes, "PK\x03\x04")) {
      out = zip_has(bytes, "model.weights.h5") ? parse_keras_zip(bytes, file, path)
                                               : parse_pytorch_zip(bytes, file, path);
    } else if (is_tf_index(bytes)) {
      if (!path.ends_with(".index"))
        throw Error(ErrorKind::format, path, "is the index of a TensorFlow checkpoint under another name",
                    "the data files are found by its name, which ends in .index");
      out = read_checkpoint(path);
    } else if (refuse_part_of_checkpoint(bytes, path); starts_with(bytes, "{", 8)) {
      out = parse_safetensors_weights(bytes, file, path);
    } else if (starts_with(bytes, "\x80") || zip_has(bytes.first(std::min<std::size_t>(bytes.size(), 512)), "ustar")) {
      out = parse_pytorch_pickle(bytes, file, path);
    } else {
      throw Error(ErrorKind::format, path, str("is no weight file: ", looks_like(bytes)),
                  "safetensors, Keras (.h5, .keras), PyTorch (.pth) and TensorFlow checkpoints are read");
    }
  }
  out.path = path;
  return out;
}

}  // namespace fovea::weights
