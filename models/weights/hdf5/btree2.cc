// Version 2 B-trees: the index of new groups, of many attributes, of large heap objects and of some chunked datasets.
#include <algorithm>
#include <bit>

#include "core/error.h"
#include "models/weights/hdf5/bytes_internal.h"

namespace fovea::weights::hdf5 {
namespace {

int bytes_for(std::uint64_t limit) { return (std::max(1, static_cast<int>(std::bit_width(limit))) + 7) / 8; }

/// What nodes of one depth can hold, which decides how many bytes their parents count them with.
struct Level {
  std::uint64_t records;     ///< most records of a node
  std::uint64_t cumulative;  ///< most records of a node and all below
  int pointer_bytes;         ///< of a child pointer in such a node
  int cumulative_bytes;      ///< of the count of all records below, in a parent's pointer
};

struct Node {
  std::uint64_t address, records;
  int depth;
};

}  // namespace

void for_each_record(Source& source, std::uint64_t address, std::span<const std::uint8_t> types,
                     const std::function<void(std::uint8_t, std::span<const std::uint8_t>)>& visit) {
  constexpr std::uint64_t kOverhead = 10;  // signature, version, type, checksum
  constexpr int kMaxDepth = 16;            // a node holds at least two records; far more than any real tree has
  const auto offsets = static_cast<std::uint64_t>(source.offset_size);
  const auto lengths = static_cast<std::uint64_t>(source.length_size);
  Cursor head = source.block(address, 22 + offsets + lengths, "BTHD", true, "a B-tree");
  if (head.u8() != 0) head.damaged("unknown version");
  const std::uint8_t type = head.u8();
  if (std::find(types.begin(), types.end(), type) == types.end()) head.damaged(str("unexpected type ", int{type}));
  const std::uint64_t node_size = head.u32();
  const std::uint64_t record_size = head.u16();
  const int depth = head.u16();
  head.u16();  // percentages that only writers need
  const std::uint64_t root = head.offset();
  const std::uint64_t root_records = head.u16();
  if (root == kUndefined || root_records == 0) return;
  if (record_size == 0 || depth > kMaxDepth || node_size < kOverhead + record_size) head.damaged("impossible sizes");

  std::vector<Level> levels;
  levels.push_back({(node_size - kOverhead) / record_size, (node_size - kOverhead) / record_size, 0, 0});
  const int count_bytes = bytes_for(levels[0].records);
  for (int d = 1; d <= depth; ++d) {
    const Level& below = levels.back();
    const int pointer = source.offset_size + count_bytes + below.cumulative_bytes;
    const auto pointer_size = static_cast<std::uint64_t>(pointer);
    if (node_size < kOverhead + pointer_size) head.damaged("impossible sizes");
    const std::uint64_t records = (node_size - kOverhead - pointer_size) / (record_size + pointer_size);
    if (records == 0) head.damaged("impossible sizes");
    // Beyond 2^62 the exact value no longer matters: 8 bytes are the most there are.
    const std::uint64_t cap = std::uint64_t{1} << 62;
    const std::uint64_t cumulative =
        below.cumulative > cap / (records + 1) - 1 ? cap : (records + 1) * below.cumulative + records;
    levels.push_back({records, cumulative, pointer, bytes_for(cumulative)});
  }

  std::vector<Node> todo = {{root, root_records, depth}};
  std::unordered_set<std::uint64_t> seen = {root};
  while (!todo.empty()) {
    const Node node = todo.back();
    todo.pop_back();
    const Level& level = levels[static_cast<std::size_t>(node.depth)];
    if (node.records > level.records) source.damaged("a B-tree node claims more records than fit");
    const bool leaf = node.depth == 0;
    const std::uint64_t pointers = leaf ? 0 : (node.records + 1) * static_cast<std::uint64_t>(level.pointer_bytes);
    // The checksum follows the last pointer, wherever the node itself ends.
    Cursor body = source.block(node.address, kOverhead + node.records * record_size + pointers, leaf ? "BTLF" : "BTIN",
                               true, "a B-tree node");
    if (body.u8() != 0) body.damaged("unknown version");
    if (body.u8() != type) body.damaged("it belongs to another tree");
    for (std::uint64_t i = 0; i < node.records; ++i) visit(type, body.take(record_size));
    if (leaf) continue;
    const Level& below = levels[static_cast<std::size_t>(node.depth - 1)];
    for (std::uint64_t i = 0; i <= node.records; ++i) {
      const std::uint64_t child = body.offset();
      const std::uint64_t records = body.sized(count_bytes);
      body.skip(static_cast<std::uint64_t>(below.cumulative_bytes));
      if (!seen.insert(child).second) body.damaged("two nodes lie at one place");
      todo.push_back({child, records, node.depth - 1});
    }
  }
}

}  // namespace fovea::weights::hdf5
