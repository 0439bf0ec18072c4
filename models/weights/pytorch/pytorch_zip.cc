// PyTorch's files since 1.6: a zip archive of stored members, NAME/data.pkl with the objects and NAME/data/KEY with the
// storages. TorchScript's archives have the same members and more.
#include "core/error.h"
#include "models/weights/checksum_internal.h"
#include "models/weights/pytorch/state_dict_internal.h"
#include "models/weights/weight_file.h"
#include "models/weights/zip_index_internal.h"

namespace fovea::weights {
namespace {

using namespace pytorch;

/// "NAME/" of NAME/data.pkl; torch names the folder after the file.
std::string_view archive_folder(const ZipIndex& zip, const std::string& where) {
  std::string_view folder;
  bool found = false;
  for (const ZipMember& member : zip.members()) {
    constexpr std::string_view kPickle = "data.pkl";
    if (!member.name.ends_with(kPickle)) continue;
    const std::string_view before = member.name.substr(0, member.name.size() - kPickle.size());
    if (!before.empty() && before.find('/') != before.size() - 1) continue;  // deeper, or another name's end
    if (found) throw Error(ErrorKind::format, where, "the archive holds more than one data.pkl");
    found = true;
    folder = before;
  }
  if (found) return folder;
  std::string names;
  for (std::size_t i = 0; i < zip.members().size() && i < 4; ++i) {
    names += str(i == 0 ? "" : ", ", zip.members()[i].name.substr(0, 60));
  }
  throw Error(ErrorKind::format, where,
              str("no PyTorch archive: it has no data.pkl among its ", zip.members().size(), " members",
                  names.empty() ? "" : " (", names, names.empty() ? "" : ", ...)"),
              "save the weights with torch.save(model.state_dict(), path)");
}

/// Without one the file is older than torch 2.1 and little-endian, as all machines it ran on.
bool is_big_endian(const ZipIndex& zip, std::string_view folder, const std::string& where) {
  const ZipMember* member = zip.find(str(folder, "byteorder"));
  if (!member) return false;
  const std::span<const std::uint8_t> bytes = zip.content(*member);
  const std::string_view order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (order != "little" && order != "big") {
    throw Error(ErrorKind::format, where, str("its byte order is '", order.substr(0, 20), "', not little or big"));
  }
  return order == "big";
}

}  // namespace

WeightFile parse_pytorch_zip(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                             const std::string& where) {
  const ZipIndex zip(bytes, where);
  const std::string_view folder = archive_folder(zip, where);
  const ZipMember& pickle_member = *zip.find(str(folder, "data.pkl"));
  const std::span<const std::uint8_t> pickle = zip.content(pickle_member);
  // torch.serialization.set_crc32_options(False) writes zeros.
  if (pickle_member.crc != 0 && crc32(pickle) != pickle_member.crc) {
    throw Error(ErrorKind::format, where, "data.pkl is damaged: its checksum does not match",
                "copy or download the file again");
  }
  Graph graph;
  std::size_t position = 0;
  const Value root = unpickle(pickle, position, graph, where);

  const auto find_storage = [&](std::string_view key) -> StorageBytes {
    const ZipMember* member = zip.find(str(folder, "data/", key));
    if (!member) throw Error(ErrorKind::format, where, str("the archive misses the storage data/", key));
    StorageBytes storage{zip.content(*member), std::nullopt};
    if (member->crc != 0) storage.crc = member->crc;
    return storage;
  };
  TensorMaker maker(graph, {std::move(owner), where, bytes.size(), is_big_endian(zip, folder, where)}, find_storage);
  WeightFile file;
  file.path = where;
  file.format = "PyTorch zip";
  if (zip.find(str(folder, "constants.pkl"))) file.metadata.emplace_back("pytorch.torchscript", "yes");
  collect_state_dict(graph, root, maker, where, file);
  return file;
}

}  // namespace fovea::weights
