// CIFAR binary files: records of label bytes and 3072 pixels, channel by channel.
#include "augment/cifar.h"

#include <algorithm>
#include <utility>

#include "augment/files_internal.h"
#include "core/error.h"
#include "core/io/file.h"
#include "image/decode.h"

namespace fovea {

namespace {

constexpr std::int64_t kSide = 32, kPixels = kSide * kSide, kChannels = 3;

struct Layout {
  std::string folder;
  std::vector<std::string> files;
  std::size_t label_bytes = 1;  // CIFAR-100 has the coarse label first
  int classes = 10;
  const char* names_file = "batches.meta.txt";
};

/// Where the files are; no files where there are none. Missing ones among several are named in `missing`.
Layout find_layout(const std::string& folder, const std::string& split, std::string& missing) {
  const bool train = split == "train";
  if (!train && split != "test" && split != "val") {
    throw Error(ErrorKind::usage, "CifarDataset", str("there is no part \"", split, "\""), "say train or test");
  }
  for (const char* inner : {"", "cifar-10-batches-bin", "cifar-100-binary"}) {
    Layout layout;
    layout.folder = *inner ? files::join(folder, inner) : folder;
    std::vector<std::string> ten = {"test_batch.bin"};
    if (train)
      ten = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"};
    for (const std::string& file : ten) {
      if (files::exists(files::join(layout.folder, file))) layout.files.push_back(file);
    }
    if (!layout.files.empty()) {
      for (const std::string& file : ten) {
        if (std::find(layout.files.begin(), layout.files.end(), file) == layout.files.end()) missing += " " + file;
      }
      return layout;
    }
    const std::string hundred = train ? "train.bin" : "test.bin";
    if (files::exists(files::join(layout.folder, hundred))) {
      layout.files = {hundred};
      layout.label_bytes = 2;
      layout.classes = 100;
      layout.names_file = "fine_label_names.txt";
      return layout;
    }
  }
  return {};
}

Layout require_layout(const std::string& folder, const std::string& split) {
  files::require_folder(folder);
  std::string missing;
  Layout layout = find_layout(folder, split, missing);
  if (layout.files.empty()) {
    throw Error(ErrorKind::file, folder,
                str("no CIFAR binary files for ", split, " here (data_batch_1.bin, train.bin, …)"),
                "take the \"binary version\" from https://www.cs.toronto.edu/~kriz/cifar.html");
  }
  if (!missing.empty())
    throw Error(ErrorKind::file, layout.folder, str("incomplete CIFAR-10:", missing, " is missing"));
  return layout;
}

std::vector<std::string> read_names(const Layout& layout) {
  const std::string path = files::join(layout.folder, layout.names_file);
  std::vector<std::string> names;
  if (files::exists(path)) {
    std::string line;
    for (const std::uint8_t byte : read_file(path, 1 << 20)) {
      if (byte == '\n') {
        if (!line.empty()) names.push_back(std::move(line));
        line.clear();
      } else if (byte != '\r') {
        line += static_cast<char>(byte);
      }
    }
    if (!line.empty()) names.push_back(line);
    if (names.size() != static_cast<std::size_t>(layout.classes)) {
      throw Error(ErrorKind::format, path, str("expected ", layout.classes, " class names, found ", names.size()));
    }
    return names;
  }
  if (layout.classes == 10)
    return {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  for (int c = 0; c < layout.classes; ++c) names.push_back(std::to_string(c));
  return names;
}

TensorDataset load_cifar(const Layout& layout, std::vector<std::int64_t>& begins) {
  const std::size_t record = layout.label_bytes + kPixels * kChannels;
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> labels;
  for (const std::string& file : layout.files) {
    const std::string path = files::join(layout.folder, file);
    const std::vector<std::uint8_t> bytes = read_file(path, std::uint64_t{1} << 32);
    begins.push_back(static_cast<std::int64_t>(labels.size()));
    if (bytes.empty() || bytes.size() % record != 0) {
      throw Error(ErrorKind::format, path,
                  str(bytes.size(), " bytes are no whole number of records of ", record, " bytes"),
                  "the file is truncated or is not the binary version");
    }
    const std::size_t count = bytes.size() / record, first = pixels.size();
    pixels.resize(first + count * kPixels * kChannels);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t* from = bytes.data() + i * record + layout.label_bytes;
      const int label = from[-1];
      if (label >= layout.classes) {
        throw Error(ErrorKind::format, path, str("label ", label, " of record ", i, " is not below ", layout.classes));
      }
      labels.push_back(label);
      std::uint8_t* to = pixels.data() + first + i * kPixels * kChannels;
      for (std::int64_t p = 0; p < kPixels; ++p) {
        for (std::int64_t c = 0; c < kChannels; ++c) *to++ = from[c * kPixels + p];
      }
    }
  }
  const auto owner = std::make_shared<const std::vector<std::uint8_t>>(std::move(pixels));
  const auto n = static_cast<std::int64_t>(labels.size());
  Tensor tensor =
      Tensor::borrow(const_cast<std::uint8_t*>(owner->data()), {n, kSide, kSide, kChannels}, DType::u8, owner);
  return TensorDataset(std::move(tensor), std::move(labels), read_names(layout));
}

}  // namespace

CifarDataset::CifarDataset(const std::string& folder, const std::string& split)
    : files_(require_layout(folder, split).files), pictures_(load_cifar(require_layout(folder, split), files_begin_)) {}

bool CifarDataset::found_in(const std::string& folder, const std::string& split) {
  std::string missing;
  return !find_layout(folder, split, missing).files.empty();
}

std::string CifarDataset::name(std::int64_t i) const {
  const auto file = std::upper_bound(files_begin_.begin(), files_begin_.end(), i) - files_begin_.begin() - 1;
  const auto k = static_cast<std::size_t>(std::max<std::ptrdiff_t>(file, 0));
  return str(files_[k], "#", i - files_begin_[k]);
}

}  // namespace fovea
