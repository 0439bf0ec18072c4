// Keras 3 archives (.keras): a zip of config.json, metadata.json and model.weights.h5. Keras stores the members
// uncompressed, so the weights are used where they lie; an archive that was packed again is unpacked to a temporary
// file.
#include <zip.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/error.h"
#include "models/weights/checksum_internal.h"
#include "models/weights/keras_h5_internal.h"
#include "models/weights/scratch_file_internal.h"
#include "models/weights/zip_index_internal.h"

namespace fovea::weights {
namespace {

/// An honest archive has three members and a few assets.
constexpr zip_int64_t kMaxMembers = 10000;
constexpr std::size_t kPiece = 1 << 16;

class Archive {
 public:
  Archive(std::span<std::uint8_t> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
    zip_t* archive = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr;
    const std::string reason = archive ? "" : zip_error_strerror(&error);
    if (!archive && source) zip_source_free(source);
    zip_error_fini(&error);
    if (!archive) damaged(reason);
    archive_.reset(archive);
    if (zip_get_num_entries(archive, 0) > kMaxMembers) damaged(str("it has more than ", kMaxMembers, " members"));
  }

  struct Member {
    zip_uint64_t index;
    std::uint64_t size, stored;
    std::uint16_t method;
    std::uint32_t crc;
    std::string name;
  };

  /// Nothing if there is none.
  std::optional<Member> find(const std::string& name) const {
    std::optional<Member> found;
    const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
    for (zip_int64_t i = 0; i < count; ++i) {
      const char* entry = zip_get_name(archive_.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
      if (!entry || name != entry) continue;
      if (found) damaged(str("'", name, "' occurs twice"));
      zip_stat_t info;
      if (zip_stat_index(archive_.get(), static_cast<zip_uint64_t>(i), 0, &info) != 0) damaged("a member has no entry");
      if (info.encryption_method != ZIP_EM_NONE) damaged(str("'", name, "' is encrypted"));
      if (info.comp_method != ZIP_CM_STORE && info.comp_method != ZIP_CM_DEFLATE) {
        throw Error(ErrorKind::format, where_, str("'", name, "' is compressed with zip method ", info.comp_method),
                    "unpack the archive and pack it again with zip -0");
      }
      found = Member{info.index, info.size, info.comp_size, info.comp_method, info.crc, name};
      if (found->stored > bytes_.size() || (info.comp_method == ZIP_CM_STORE && found->size != found->stored)) {
        damaged(str("'", name, "' should have ", found->stored, " bytes in an archive of ", bytes_.size()));
      }
      // Weights are noise, of which deflate saves a tenth; texts become five times smaller. Bombs have 1032 : 1.
      if (found->size / 64 > found->stored + (1 << 20)) {
        damaged(str("'", name, "' of ", found->stored, " bytes would unpack to ", found->size));
      }
    }
    return found;
  }

  /// Unpacks a member piece by piece; libzip checks the checksum.
  template <class Take>
  void unpack(const Member& member, const Take& take) const {
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(archive_.get(), member.index, 0),
                                                                 zip_fclose);
    if (!file) damaged(str("'", member.name, "': ", zip_strerror(archive_.get())));
    std::vector<std::uint8_t> piece(kPiece);
    std::uint64_t done = 0;
    for (;;) {
      const zip_int64_t n = zip_fread(file.get(), piece.data(), piece.size());
      if (n < 0) damaged(str("'", member.name, "': ", zip_file_strerror(file.get())));
      if (n == 0) break;
      done += static_cast<std::uint64_t>(n);
      if (done > member.size) break;
      take(std::span<const std::uint8_t>(piece).first(static_cast<std::size_t>(n)));
    }
    if (done != member.size) damaged(str("'", member.name, "' unpacks to another size than ", member.size));
  }

  /// A small member as text.
  std::string text(const Member& member, std::uint64_t limit) const {
    if (member.size > limit) damaged(str("'", member.name, "' has ", member.size, " bytes"));
    std::string result;
    unpack(member, [&](std::span<const std::uint8_t> piece) { result.append(piece.begin(), piece.end()); });
    return result;
  }

  ScratchFile::Mapping map(const Member& member, std::shared_ptr<const void> owner) const {
    if (member.method == ZIP_CM_STORE) {
      const ZipIndex index(bytes_, where_);
      const ZipMember* stored = index.find(member.name);
      if (!stored) damaged(str("'", member.name, "' is not where the directory says"));
      const std::span<std::uint8_t> content = index.content(*stored);
      if (content.size() != member.size || crc32(content) != member.crc) {
        damaged(str("the checksum of '", member.name, "' is wrong"));
      }
      return {content, std::move(owner)};
    }
    ScratchFile file(where_);
    unpack(member, [&](std::span<const std::uint8_t> piece) { file.write(piece); });
    return file.map();
  }

  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorKind::format, where_, str("damaged Keras archive: ", what), "get the file again");
  }

 private:
  struct Close {
    void operator()(zip_t* archive) const { zip_discard(archive); }
  };
  std::span<std::uint8_t> bytes_;
  std::string where_;
  std::unique_ptr<zip_t, Close> archive_;
};

}  // namespace

WeightFile parse_keras_zip(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, const std::string& where) {
  const Archive archive(bytes, where);
  WeightFile out;
  out.format = "Keras 3 archive";
  const std::optional<Archive::Member> weights = archive.find("model.weights.h5");
  if (!weights) {
    for (const char* other : {"model.weights.npz", "model.weights.json"}) {
      if (archive.find(other)) {
        throw Error(ErrorKind::format, where, str("keeps its weights as ", other, ", which is not read"),
                    "save it again with Keras' defaults");
      }
    }
    throw Error(ErrorKind::format, where, "is a zip archive without model.weights.h5, so it is no Keras archive");
  }
  if (const auto metadata = archive.find("metadata.json")) {
    const nlohmann::json parsed = nlohmann::json::parse(archive.text(*metadata, 1 << 16), nullptr, false);
    if (parsed.is_object() && parsed.contains("keras_version") && parsed["keras_version"].is_string()) {
      out.metadata.emplace_back("keras.version", parsed["keras_version"].get<std::string>());
    }
  }
  // A config takes some 1 KB per layer, and several times its size while it is read.
  std::optional<std::string> config;
  if (const auto member = archive.find("config.json")) config = archive.text(*member, (4u << 20) + bytes.size() / 8);
  const ScratchFile::Mapping mapping = archive.map(*weights, std::move(owner));
  read_keras_weights(mapping.bytes, mapping.owner, str(where, ": model.weights.h5"), config ? &*config : nullptr, out);
  if (config) out.metadata.emplace_back("keras.config", std::move(*config));
  return out;
}

}  // namespace fovea::weights
