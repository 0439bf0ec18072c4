// What the tests of this room share: temporary folders, small pictures, files of every kind.
#pragma once

#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "catch.h"
#include "core/error.h"
#include "core/rng.h"
#include "image/encode.h"
#include "image/image.h"
#include "tests/temp_folder.h"

namespace helpers {

namespace fs = std::filesystem;

using fovea::test::TempFolder;

inline void write(const std::string& path, const std::string& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(out.good());
}

inline std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline fovea::image::Image noise_picture(int width, int height, int channels, std::uint64_t seed = 1) {
  fovea::image::Image picture(width, height, channels);
  fovea::Rng rng(seed, "test picture");
  for (auto& v : picture.pixels) v = static_cast<std::uint8_t>(rng.below(256));
  return picture;
}

/// Smooth, so that resampling errors are small: a gradient per channel.
inline fovea::image::Image gradient_picture(int width, int height, int channels) {
  fovea::image::Image picture(width, height, channels);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c)
        picture.at(x, y, c) = static_cast<std::uint8_t>((x * (3 + c) + y * (5 - c)) % 256);
    }
  }
  return picture;
}

inline void put_png(const std::string& path, const fovea::image::Image& picture) {
  fs::create_directories(fs::path(path).parent_path());
  fovea::image::write_png(path, picture);
}

inline std::string gzip(const std::string& bytes) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string big_endian(std::uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
}

/// An IDX file of bytes 0, 1, 2, … (modulo `modulo`).
inline std::string idx(const std::vector<std::uint32_t>& dims, unsigned modulo = 256) {
  std::string out = {0, 0, 8, static_cast<char>(dims.size())};
  std::size_t total = 1;
  for (const std::uint32_t d : dims) out += big_endian(d), total *= d;
  for (std::size_t i = 0; i < total; ++i) out += static_cast<char>(i % modulo);
  return out;
}

/// The error that `action` throws: "kind: text"; "none" if it throws nothing.
template <class Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const fovea::Error& error) {
    return std::string(fovea::to_string(error.kind())) + ": " + error.what();
  }
  return "none";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

/// A class-per-folder tree of small PNG pictures.
inline void make_tree(const std::string& root, const std::vector<std::pair<std::string, int>>& classes, int side = 8) {
  std::uint64_t seed = 0;
  for (const auto& [name, count] : classes) {
    fs::create_directories(fs::path(root) / name);
    for (int i = 0; i < count; ++i) {
      put_png((fs::path(root) / name / ("picture" + std::to_string(100 + i) + ".png")).string(),
              noise_picture(side, side, 3, ++seed));
    }
  }
}

/// Pictures whose every pixel tells the item: image i is filled with i % 251.
inline fovea::DatasetPtr numbered_dataset(std::int64_t n, int side = 4, int channels = 1, std::int64_t classes = 3) {
  fovea::Tensor images(fovea::Shape{n, side, side, channels}, fovea::DType::u8);
  std::vector<std::int64_t> labels;
  std::vector<std::string> names;
  const std::int64_t one = std::int64_t{side} * side * channels;
  for (std::int64_t i = 0; i < n; ++i) {
    std::fill_n(images.mutable_data<std::uint8_t>() + i * one, one, static_cast<std::uint8_t>(i % 251));
    labels.push_back(i % classes);
  }
  for (std::int64_t c = 0; c < classes; ++c) names.push_back("class" + std::to_string(c));
  return std::make_shared<fovea::TensorDataset>(images, labels, names);
}

}  // namespace helpers
