// PyTorch's files before 1.6: four pickles (a magic number, the protocol, facts about the machine, the objects), the
// keys of the storages as a fifth, then the storages in that order, each after its number of elements.
#include <cstring>
#include <unordered_map>

#include "core/error.h"
#include "models/weights/pytorch/state_dict_internal.h"
#include "models/weights/weight_file.h"

namespace fovea::weights {
namespace {

using namespace pytorch;

// LONG1 of ten bytes, STOP: 0x1950a86a20f9469cfc6c. Longer than 64 bits, so compared as it is spelled.
constexpr std::uint8_t kMagic[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
constexpr std::int64_t kProtocol = 1001;

/// Behind the magic number, or an error that says what the file is instead.
std::size_t skip_magic(std::span<const std::uint8_t> bytes, const std::string& where) {
  std::size_t at = bytes.size() >= 2 && bytes[0] == 0x80 ? 2 : 0;
  if (bytes.size() > at && bytes[at] == 0x95) at += 9;  // protocol 4 frames even this
  if (bytes.size() >= at + sizeof kMagic && std::memcmp(bytes.data() + at, kMagic, sizeof kMagic) == 0) {
    return at + sizeof kMagic;
  }
  constexpr std::size_t kTarMark = 257;
  if (bytes.size() > kTarMark + 5 && std::memcmp(bytes.data() + kTarMark, "ustar", 5) == 0) {
    throw Error(ErrorKind::format, where, "a tar archive: PyTorch 0.1.1 to 0.1.9 wrote such files, they are not read",
                "load it in PyTorch and save its state_dict again");
  }
  throw Error(ErrorKind::format, where, "no PyTorch file: it does not begin with torch's magic number",
              "a file written by pickle.dump has to be saved with torch.save");
}

std::unordered_map<std::string_view, StorageBytes> read_storages(std::span<std::uint8_t> bytes, std::size_t position,
                                                                 const Graph& graph, const std::string& where) {
  std::unordered_map<std::string_view, const StorageRecord*> described;
  for (const StorageRecord& record : graph.storages) described.emplace(record.key, &record);

  Graph keys_graph;
  const Value keys = unpickle(bytes, position, keys_graph, where);
  if (keys.kind != Kind::list) throw Error(ErrorKind::format, where, "the list of storage keys is missing");
  std::unordered_map<std::string_view, StorageBytes> storages;
  for (const Value& key : keys_graph.node(keys).items) {
    const auto damaged = [&](const std::string& what) {
      throw Error(ErrorKind::format, where, str("storage '", key.text(), "' ", what),
                  "the file may have been cut off; copy or download it again");
    };
    const auto known = described.find(key.text());
    if (!key.is_text() || known == described.end()) damaged("belongs to no tensor");
    const StorageRecord& record = *known->second;
    std::int64_t count = 0, size = 0;
    if (bytes.size() - position < sizeof count) damaged("is missing");
    std::memcpy(&count, bytes.data() + position, sizeof count);
    position += sizeof count;
    if (count != record.numel) {
      damaged(str("has ", count, " elements where it lies, ", record.numel, " where it is described"));
    }
    if (__builtin_mul_overflow(count, record.element_bytes, &size) ||
        static_cast<std::uint64_t>(size) > bytes.size() - position) {
      damaged(str("of ", count, " elements reaches beyond the end of the file"));
    }
    const auto content = bytes.subspan(position, static_cast<std::size_t>(size));
    position += content.size();
    if (!storages.emplace(record.key, StorageBytes{content, std::nullopt}).second) damaged("occurs twice");
  }
  return storages;
}

}  // namespace

WeightFile parse_pytorch_pickle(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                                const std::string& where) {
  std::size_t position = skip_magic(bytes, where);
  Graph preamble, graph;
  const Value protocol = unpickle(bytes, position, preamble, where);
  if (protocol.kind != Kind::integer || protocol.integer != kProtocol) {
    throw Error(ErrorKind::format, where, str("expected torch's file protocol ", kProtocol, ", the file has another"));
  }
  unpickle(bytes, position, preamble, where);  // sizes of C types where it was written; the storages are little-endian
  const Value root = unpickle(bytes, position, graph, where);
  const auto storages = read_storages(bytes, position, graph, where);
  const auto find_storage = [&](std::string_view key) -> StorageBytes {
    const auto at = storages.find(key);
    if (at == storages.end()) throw Error(ErrorKind::format, where, str("the file misses the storage '", key, "'"));
    return at->second;
  };
  TensorMaker maker(graph, {std::move(owner), where, bytes.size(), false}, find_storage);
  WeightFile file;
  file.path = where;
  file.format = "PyTorch pickle (before 1.6)";
  collect_state_dict(graph, root, maker, where, file);
  return file;
}

}  // namespace fovea::weights
