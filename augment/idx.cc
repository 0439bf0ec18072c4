// IDX files, with every size checked against the bytes that are really there.
#include "augment/idx.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "augment/files_internal.h"
#include "core/error.h"
#include "core/io/file.h"
#include "image/decode.h"

namespace fovea {

namespace {

using Bytes = std::span<const std::uint8_t>;

/// Hands out the bytes of a file one after the other, inflating gzip (one or more members) on the way.
class Source {
 public:
  Source(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {
    gzip_ = bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
    if (gzip_ && inflateInit2(&stream_, 15 + 16) != Z_OK) {
      throw Error(ErrorKind::memory, name_, "no memory to decompress this file");
    }
  }
  ~Source() {
    if (gzip_) inflateEnd(&stream_);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  /// At most this many bytes can come: deflate never packs more than 1032 into one.
  std::uint64_t bound() const { return static_cast<std::uint64_t>(bytes_.size()) * (gzip_ ? 1032 : 1); }

  /// Up to `size` bytes; fewer only at the end of the file.
  std::size_t read(std::uint8_t* to, std::size_t size) {
    if (gzip_) return inflate_some(to, size);
    const std::size_t count = std::min(size, bytes_.size() - at_);
    std::memcpy(to, bytes_.data() + at_, count);
    at_ += count;
    return count;
  }

 private:
  std::size_t inflate_some(std::uint8_t* to, std::size_t size) {
    constexpr std::size_t kChunk = std::size_t{1} << 30;  // zlib counts in 32 bits
    std::size_t done = 0;
    while (done < size) {
      if (member_ended_) {
        // gzip allows several members in a row; anything else behind the end is not part of this format.
        if (at_ == bytes_.size()) break;
        if (bytes_.size() - at_ < 2 || bytes_[at_] != 0x1f || bytes_[at_ + 1] != 0x8b) {
          throw Error(ErrorKind::format, name_,
                      str(bytes_.size() - at_, " bytes that are no gzip data follow the end of the gzip data"));
        }
        inflateReset(&stream_);
        member_ended_ = false;
      }
      const std::size_t in = std::min(bytes_.size() - at_, kChunk), out = std::min(size - done, kChunk);
      stream_.next_in = const_cast<Bytef*>(bytes_.data() + at_);
      stream_.avail_in = static_cast<uInt>(in);
      stream_.next_out = to + done;
      stream_.avail_out = static_cast<uInt>(out);
      const int status = inflate(&stream_, Z_NO_FLUSH);
      at_ += in - stream_.avail_in;
      const std::size_t got = out - stream_.avail_out;
      done += got;
      if (status == Z_STREAM_END) {
        member_ended_ = true;
      } else if (status == Z_BUF_ERROR || (status == Z_OK && at_ == bytes_.size() && got == 0)) {
        throw Error(ErrorKind::format, name_, "the gzip data ends too early",
                    "the file is truncated: download it again");
      } else if (status == Z_MEM_ERROR) {
        throw Error(ErrorKind::memory, name_, "no memory to decompress this file");
      } else if (status != Z_OK) {
        throw Error(ErrorKind::format, name_,
                    str("damaged gzip data", stream_.msg ? ": " : "", stream_.msg ? stream_.msg : ""),
                    "download the file again");
      }
    }
    return done;
  }

  Bytes bytes_;
  const std::string& name_;
  std::size_t at_ = 0;
  bool gzip_ = false;
  bool member_ended_ = false;
  z_stream stream_{};
};

std::uint32_t big_endian(const std::uint8_t* p) {
  return static_cast<std::uint32_t>(p[0]) << 24 | static_cast<std::uint32_t>(p[1]) << 16 |
         static_cast<std::uint32_t>(p[2]) << 8 | p[3];
}

bool contains_ignoring_case(std::string text, const std::string& word) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return text.find(word) != text.npos;
}

}  // namespace

IdxArray parse_idx(Bytes bytes, const std::string& name, std::uint64_t max_bytes) {
  const auto truncated = [&](std::uint64_t got, std::uint64_t expected) {
    return Error(ErrorKind::format, name, str("the header promises ", expected, " bytes, the file ends after ", got),
                 "the file is truncated: download it again");
  };
  Source source(bytes, name);
  std::uint8_t header[4 + 4 * 4];
  const std::size_t got = source.read(header, 4);
  if (bytes.empty()) throw Error(ErrorKind::format, name, "the file is empty");
  if (got < 4) throw truncated(got, 4);
  const int type = header[2], rank = header[3];
  if (header[0] != 0 || header[1] != 0 || (type < 0x08 || type > 0x0E) || rank < 1) {
    throw Error(ErrorKind::format, name,
                "this is not an IDX file (it should start with two zero bytes, a type and a rank)");
  }
  if (type != 0x08) throw Error(ErrorKind::format, name, str("IDX element type ", type, " is not unsigned byte (8)"));
  if (rank > 4)
    throw Error(ErrorKind::format, name, str("IDX array with ", rank, " axes; pictures have 3 or 4, labels 1"));
  const auto extents = static_cast<std::size_t>(rank);
  if (const std::size_t more = source.read(header + 4, 4 * extents); more < 4 * extents)
    throw truncated(4 + more, 4 + 4 * extents);

  std::int64_t dims[4];
  std::uint64_t total = 1;
  for (std::size_t axis = 0; axis < extents; ++axis) {
    const std::uint32_t extent = big_endian(header + 4 + 4 * axis);
    dims[axis] = extent;
    if (extent != 0 && total > std::numeric_limits<std::uint64_t>::max() / extent)
      total = std::numeric_limits<std::uint64_t>::max();
    else
      total *= extent;
  }
  if (total > max_bytes) {
    throw Error(ErrorKind::memory, name,
                str("the header promises ", total, " bytes, more than the limit of ", max_bytes));
  }
  // Before allocating on the header's word: can the file hold that much at all?
  if (total > source.bound()) throw truncated(bytes.size(), total + 4 + 4 * extents);
  IdxArray array;
  array.shape = Shape(std::span<const std::int64_t>(dims, extents));
  try {
    array.values.resize(total);
  } catch (const std::exception&) {
    throw Error(ErrorKind::memory, name, str("no memory for the ", total, " bytes of this file"));
  }
  if (const std::size_t values = source.read(array.values.data(), total); values < total) {
    throw truncated(4 + 4 * extents + values, 4 + 4 * extents + total);
  }
  // Reading one byte more also makes zlib verify the checksum at the end of the gzip data.
  std::uint8_t extra;
  if (source.read(&extra, 1) != 0) {
    throw Error(ErrorKind::format, name, str("the file goes on after the ", total, " values its header promises"));
  }
  return array;
}

IdxArray read_idx(const std::string& path) { return parse_idx(read_file(path, std::uint64_t{1} << 32), path); }

std::vector<std::string> fashion_mnist_classes() {
  return {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"};
}

namespace {

TensorDataset load_idx(const std::string& images_path, const std::string& labels_path, const IdxOptions& options) {
  IdxArray images = read_idx(images_path);
  const IdxArray labels = read_idx(labels_path);
  const int rank = images.shape.rank();
  if (rank < 3) {
    throw Error(ErrorKind::format, images_path, str("holds an array ", images.shape, ", not pictures [N,H,W]"),
                rank == 1 ? "are the images and labels files exchanged?" : "");
  }
  if (labels.shape.rank() != 1) {
    throw Error(ErrorKind::format, labels_path, str("holds an array ", labels.shape, ", not labels [N]"),
                "are the images and labels files exchanged?");
  }
  const std::int64_t n = images.shape[0];
  if (n != labels.shape[0]) {
    throw Error(ErrorKind::format, labels_path,
                str("has ", labels.shape[0], " labels, but ", images_path, " has ", n, " pictures"),
                "the two files belong to different sets");
  }
  if (n == 0) throw Error(ErrorKind::format, images_path, "holds no pictures");
  const std::int64_t channels = rank == 4 ? images.shape[3] : 1;
  if (channels != 1 && channels != 3) {
    throw Error(ErrorKind::format, images_path, str("pictures have 1 or 3 channels, these have ", channels));
  }
  std::vector<std::string> names = options.class_names;
  const int highest = *std::max_element(labels.values.begin(), labels.values.end());
  if (names.empty() && contains_ignoring_case(images_path, "fashion")) names = fashion_mnist_classes();
  if (names.empty()) {
    for (int c = 0; c <= std::max(highest, 9); ++c) names.push_back(std::to_string(c));
  }
  if (static_cast<std::size_t>(highest) >= names.size()) {
    const auto at = std::find(labels.values.begin(), labels.values.end(), highest) - labels.values.begin();
    throw Error(ErrorKind::format, labels_path,
                str("label ", highest, " of picture ", at, " is beyond the ", names.size(), " classes"));
  }
  const auto owner = std::make_shared<const std::vector<std::uint8_t>>(std::move(images.values));
  // The dataset never writes; Tensor has no read-only flavour.
  Tensor pixels = Tensor::borrow(const_cast<std::uint8_t*>(owner->data()),
                                 {n, images.shape[1], images.shape[2], channels}, DType::u8, owner);
  return TensorDataset(std::move(pixels), std::vector<std::int64_t>(labels.values.begin(), labels.values.end()),
                       std::move(names));
}

/// Path of the file called `stem` in one of its four spellings, or nothing.
std::string find_spelling(const std::string& folder, const std::string& prefix, const std::string& kind) {
  for (const char* joint : {"-", "."}) {
    for (const char* ending : {".gz", ""}) {
      const std::string path = files::join(folder, str(prefix, joint, kind, "-ubyte", ending));
      if (files::exists(path)) return path;
    }
  }
  return {};
}

const char* idx_prefix(const std::string& split) {
  if (split == "train") return "train";
  if (split == "test" || split == "val") return "t10k";
  throw Error(ErrorKind::usage, "IdxDataset", str("there is no part \"", split, "\""), "say train or test");
}

}  // namespace

IdxDataset::IdxDataset(const std::string& images_path, const std::string& labels_path, const IdxOptions& options)
    : name_(std::filesystem::path(images_path).filename().string()),
      pictures_(load_idx(images_path, labels_path, options)) {}

IdxDataset IdxDataset::open(const std::string& folder, const std::string& split, const IdxOptions& options) {
  const std::string prefix = idx_prefix(split);
  files::require_folder(folder);
  const std::string images = find_spelling(folder, prefix + "-images", "idx3");
  const std::string labels = find_spelling(folder, prefix + "-labels", "idx1");
  for (const auto& [path, wanted] :
       {std::pair(images, "-images-idx3-ubyte"), std::pair(labels, "-labels-idx1-ubyte")}) {
    if (path.empty()) {
      throw Error(ErrorKind::file, folder, str("there is no ", prefix, wanted, " here, with or without .gz"),
                  "MNIST-like sets are two such files for train and two for t10k");
    }
  }
  return IdxDataset(images, labels, options);
}

bool IdxDataset::found_in(const std::string& folder, const std::string& split) {
  const std::string prefix = idx_prefix(split);
  return !find_spelling(folder, prefix + "-images", "idx3").empty() &&
         !find_spelling(folder, prefix + "-labels", "idx1").empty();
}

std::string IdxDataset::name(std::int64_t i) const { return str(name_, "#", i); }

}  // namespace fovea
