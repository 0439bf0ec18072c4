// Damaged PyTorch files: zip archives (with their checksums made right again, or damage would end there), pickles
// before 1.6, and bare pickles over a storage. Every tensor of what is accepted is read.
#include <cstring>

#include "fuzz/driver.h"
#include "fuzz/seed_files.h"
#include "models/weight_file_writer.h"

namespace {

using namespace writer;
using fovea::weights::WeightFile;

const std::string& storage_bytes() {
  static const std::string bytes(96, '\1');
  return bytes;
}

std::string small_dict() {
  const auto w = [](std::int64_t offset, const std::vector<std::int64_t>& sizes,
                    const std::vector<std::int64_t>& strides) {
    return tensor(storage("FloatStorage", "0", 24), offset, sizes, strides);
  };
  return dict({{"module.a", w(0, {2, 3}, {3, 1})},
               {"module.b", call(global("torch._utils", "_rebuild_parameter"), {w(1, {3, 2}, {1, 3}), "\x88", "N"})},
               {"module.c", w(4, {}, {})}});
}

std::string whole_network() {
  return global("net", "Net") + ")\x81}(" + text("_parameters") +
         dict({{"w", tensor(storage("HalfStorage", "0", 48), 2, {4}, {2})}}) + text("_buffers") + "}" +
         text("_modules") + "}" + "ub";
}

void read_all(const WeightFile& file) {
  unsigned sum = 0;
  for (const auto& t : file.tensors) {
    try {
      const fovea::Tensor tensor = t.read();
      if (tensor.shape() != t.shape || tensor.dtype() != t.dtype) __builtin_trap();
      const auto* p = static_cast<const std::uint8_t*>(tensor.view().data);
      for (std::size_t i = 0; i < tensor.nbytes(); i += 1 + tensor.nbytes() / 5000) sum += p[i];
      if (tensor.nbytes() > 0) sum += p[tensor.nbytes() - 1];
    } catch (const fovea::Error&) {
      // a type without a counterpart, or a checksum
    }
  }
  [[maybe_unused]] const volatile unsigned sink = sum;  // so that the reads are not left out
}

/// Makes the central directory's checksums those of the members, as far as both are where they should be.
void repair_checksums(std::string& zip) {
  const auto number = [&](std::size_t at, int width) {
    std::uint64_t value = 0;
    std::memcpy(&value, zip.data() + at, static_cast<std::size_t>(width));
    return static_cast<std::size_t>(value);
  };
  for (std::size_t at = zip.find("PK\1\2"); at != std::string::npos && zip.size() - at >= 46;
       at = zip.find("PK\1\2", at + 4)) {
    const std::size_t size = number(at + 24, 4), header = number(at + 42, 4);
    if (zip.size() < 30 || header > zip.size() - 30) continue;
    const std::size_t content = header + 30 + number(header + 26, 2) + number(header + 28, 2);
    if (content > zip.size() || size > zip.size() - content) continue;
    const std::uint32_t crc = fovea::weights::crc32(as_bytes(std::string_view(zip).substr(content, size)));
    std::memcpy(zip.data() + at + 16, &crc, sizeof crc);
  }
}

template <class Read>
void feed(Read&& read) {
  try {
    read_all(read());
  } catch (const fovea::Error&) {
    // the right answer to damage
  }
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds = {
      pytorch_zip(small_dict(), {{"0", storage_bytes()}}),
      pytorch_old(small_dict(), {{"0", storage_bytes()}}),
      pickle(small_dict()),
      pickle(whole_network()),
      pickle(dict({{"epoch", "K\1"}, {"state_dict", small_dict()}, {"args", call(global("a", "B"), {}) + "}b"}})),
      pickle("]q\1(K\1J\1\2\3\4I7\nL8L\nNe0}(" + text("k") + ")" + text("t") + "K\1K\2\x86" + "u0\x8f(K\1\x90" +
             "0h\1"),
  };
  for (std::string& content : fuzz::files_in(FOVEA_SOURCE_DIR "/tests/models/data/pytorch", {".pth"}))
    seeds.push_back(std::move(content));
  fuzz::add_golden(seeds, {".pth"});
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  feed([&] { return read_old(bytes); });
  if (size >= 2 && data[0] == 'P') {
    feed([&] { return read_zip(bytes); });
    std::string repaired = bytes;
    repair_checksums(repaired);
    feed([&] { return read_zip(repaired); });
  } else {
    feed([&] { return read_zip(zip({{"a/data.pkl", bytes}, {"a/data/0", storage_bytes()}})); });
  }
  return 0;
}
