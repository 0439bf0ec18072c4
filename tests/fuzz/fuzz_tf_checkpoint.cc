// Damaged TensorFlow checkpoints: the index file, a lone block of it and a lone message, each under right checksums, or
// damage would end there. Every tensor of what is accepted is read.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fuzz/driver.h"
#include "models/tf_writer.h"

namespace {

using namespace writer;
namespace fs = std::filesystem;
using fovea::weights::CheckpointShard;
using fovea::weights::crc32c;
using fovea::weights::masked;

std::string file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// A block with a header and the object graph `graph`; `content` becomes the data file, which begins with the graph.
std::string graph_block(const std::string& graph, std::string& content) {
  const std::string lengths = varint(graph.size());
  const auto length = static_cast<std::uint32_t>(graph.size());
  const std::string sum = little(masked(crc32c(as_bytes(little(length)))));
  const std::uint32_t crc = masked(crc32c(as_bytes(sum + graph), crc32c(as_bytes(little(length)))));
  const std::string text = lengths + sum + graph;
  const std::string numbers = floats({1, 2, 3, 4});
  content = text + numbers;
  return entry("", field(1, 1)) +
         entry("_CHECKPOINTABLE_OBJECT_GRAPH", field(1, 7) + field(5, text.size()) + check(crc)) +
         entry("v", field(1, 1) + field(2, field(2, field(1, 4))) + field(4, text.size()) + field(5, 16) +
                        check(masked(crc32c(as_bytes(numbers))))) +
         block_end();
}

void read(const std::string& index, const std::string& content) {
  const Memory i(index), d(content);
  try {
    const auto shard = [&](int, int) { return CheckpointShard{*d.bytes, d.bytes}; };
    const auto checkpoint = fovea::weights::parse_tf_checkpoint(*i.bytes, i.bytes, shard, "fuzz");
    unsigned sum = 0;
    for (const auto& t : checkpoint.tensors) {
      try {
        const fovea::Tensor tensor = t.read();
        if (tensor.shape() != t.shape || tensor.dtype() != t.dtype) __builtin_trap();
        const auto* p = static_cast<const std::uint8_t*>(tensor.view().data);
        for (std::size_t k = 0; k < tensor.nbytes(); ++k) sum += p[k];
      } catch (const fovea::Error&) {
        // a checksum
      }
    }
    [[maybe_unused]] const volatile unsigned sink = sum;  // so that the reads are not left out
  } catch (const fovea::Error&) {
    // the right answer to damage
  }
}

// The first byte says what the rest is: the others can be damaged without being caught by a checksum.
constexpr char kWhole = 'w', kBlock = 'b', kGraph = 'g';
const std::string& checkpoint_data() {
  static const std::string bytes = file(FOVEA_SOURCE_DIR "/tests/models/data/tf/objects.ckpt.data-00000-of-00001");
  return bytes;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  const fs::path folder = FOVEA_SOURCE_DIR "/tests/models/data/tf";
  std::vector<std::string> seeds;
  for (const char* name : {"slim.ckpt", "types.ckpt", "objects.ckpt", "hub/variables/variables"}) {
    const std::string index = file(folder / (std::string(name) + ".index"));
    seeds.push_back(kWhole + index);
    // The first block holds everything in files as small as these; its end is where the empty meta block begins.
    std::size_t at = 0;
    std::uint64_t end = 0;
    const std::string footer = index.substr(index.size() - 48);
    for (int shift = 0; at < footer.size(); shift += 7) {
      const auto part = static_cast<std::uint8_t>(footer[at++]);
      end |= static_cast<std::uint64_t>(part & 0x7f) << shift;
      if (part < 0x80) break;
    }
    if (end > 5 && end <= index.size()) seeds.push_back(kBlock + index.substr(0, static_cast<std::size_t>(end) - 5));
  }
  const std::string variable = field(1, "VARIABLE_VALUE") + field(2, "layer/kernel") + field(3, "v");
  seeds.push_back(kGraph +
                  field(1, field(1, field(1, 1) + field(2, "a")) + field(1, field(1, 2) + field(2, "optimizer"))) +
                  field(1, field(2, variable)) + field(1, field(1, field(1, 1) + field(2, "b"))));
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (static_cast<char>(data[0])) {
    case kBlock: read(table_of(rest), checkpoint_data()); break;
    case kGraph: {
      std::string content;
      const std::string block = graph_block(rest, content);
      read(table_of(block), content);
      break;
    }
    default: read(rest, checkpoint_data());
  }
  return 0;
}
