#include "models/weights/formula.h"

#include <charconv>
#include <cstdlib>

#include "core/error.h"
#include "core/io/file.h"
#include "core/rng.h"

namespace fovea::weights {
namespace {

std::uint64_t splitmix64(std::uint64_t x) {
  std::uint64_t z = x + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

double uniform(std::uint64_t seed, std::uint64_t i) {
  return static_cast<double>(splitmix64(seed + i) >> 40) / 16777216.0;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

Shape shape_from(const std::string& text) {
  if (text == "scalar") return Shape{};
  std::vector<std::int64_t> dims;
  std::int64_t count = 1;
  for (const std::string& part : split(text, ',')) {
    std::int64_t value = -1;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value < 0 || value > 1 << 30)
      throw Error(ErrorKind::format, "shape", str("'", text, "' is no shape"));
    count *= value;
    if (count > std::int64_t{1} << 32) throw Error(ErrorKind::memory, "shape", str("'", text, "' is too large"));
    dims.push_back(value);
  }
  return Shape(std::span<const std::int64_t>(dims));
}

double number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end) throw Error(ErrorKind::format, "number", str("'", text, "' is no number"));
  return value;
}

}  // namespace

double formula_uniform(std::string_view name, std::uint64_t i) { return uniform(detail::fnv1a64(name), i); }

WeightFile read_formula(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_file(path, 64u << 20);
  WeightFile out;
  out.path = path;
  out.format = "formula";
  int line_number = 0;
  for (std::string line : split(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), '\n')) {
    ++line_number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || line.starts_with('#')) continue;
    const std::vector<std::string> field = split(line, '\t');
    try {
      if (field.size() != 5) throw Error(ErrorKind::format, "line", str("has ", field.size(), " fields, expected 5"));
      FileTensor t;
      t.name = field[0];
      t.shape = shape_from(field[2]);
      const double offset = number(field[3]), scale = number(field[4]);
      const bool count = field[1] == "count";
      t.dtype = count ? DType::i64 : DType::f32;
      t.read = [name = t.name, shape = t.shape, offset, scale, count] {
        if (count) return Tensor::zeros(shape, DType::i64);
        Tensor values(shape);
        float* p = values.mutable_data<float>();
        const std::uint64_t seed = detail::fnv1a64(name);
        for (std::int64_t i = 0; i < values.numel(); ++i) {
          const double r = uniform(seed, static_cast<std::uint64_t>(i));
          p[i] = static_cast<float>(offset + scale * (2.0 * r - 1.0));
        }
        return values;
      };
      out.tensors.push_back(std::move(t));
    } catch (const Error& e) {
      throw Error(ErrorKind::format, path, str("line ", line_number, ": ", e.what()),
                  "expected: name, kind, shape, offset, scale, separated by tabs");
    }
  }
  if (out.tensors.empty()) throw Error(ErrorKind::format, path, "lists no tensors");
  return out;
}

Tensor formula_input(std::string_view name, int size, int channels, double low, double high) {
  Tensor x({1, size, size, channels});
  float* p = x.mutable_data<float>();
  const std::uint64_t seed = detail::fnv1a64(name);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    p[i] = static_cast<float>(low + (high - low) * uniform(seed, static_cast<std::uint64_t>(i)));
  return x;
}

}  // namespace fovea::weights
