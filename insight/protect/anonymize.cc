// Only pixels get across: decode, conceal, encode, write. What is not known to be harmless is not copied.
#include "insight/protect/anonymize.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "core/threads/parallel.h"
#include "image/decode.h"
#include "image/encode.h"
#include "insight/protect/csv_internal.h"
#include "insight/protect/dicom.h"
#include "insight/protect/hidden.h"
#include "insight/protect/sources_internal.h"

namespace fovea::insight {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDicom = "DICM";  // behind the preamble of 128 bytes

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

void write_private(const std::string& path, const std::string& text) {
  const std::string folder = fs::path(path).parent_path().string();
  if (!folder.empty()) make_folders(folder);
  AtomicFile file(path, 0600);
  file.write(text);
  file.commit();
}

/// The new file's bytes.
std::vector<std::uint8_t> clean_picture(const Source& s, const PseudonymKey& key, const AnonymizeOptions& o,
                                        AnonymizedPicture& p) {
  image::DecodeOptions decoding;
  // What lies under transparent pixels was not meant to be seen.
  decoding.background = std::array<std::uint8_t, 3>{255, 255, 255};
  const std::vector<std::uint8_t> bytes = read_file(s.path, decoding.max_file_bytes);
  if (bytes.size() > 132 && std::equal(kDicom.begin(), kDicom.end(), bytes.begin() + 128)) {
    DeidentifiedDicom clean = deidentify_dicom(bytes, key, {.boxes = s.boxes, .mask_text = o.mask_text}, s.path);
    p.path += ".dcm";
    p.removed = std::move(clean.removed);
    p.concealed = static_cast<std::int64_t>(s.boxes.size());
    p.text_lines = clean.text_lines;
    if (p.group.empty()) p.group = clean.subject;
    return std::move(clean.bytes);
  }
  const image::ImageInfo info = image::probe(bytes, decoding, s.path);
  image::Image picture = image::decode(bytes, decoding, s.path);
  p.removed = hidden_content(bytes);
  if (info.orientation != 1) p.removed.emplace_back("orientation");
  std::vector<ConcealedBox> text;
  if (o.mask_text) {
    const std::vector<TextLine> lines = find_text(picture);
    text = boxes_of(lines);
    p.text_lines = static_cast<std::int64_t>(lines.size());
  }
  try {
    conceal(picture, s.boxes);
  } catch (const Error& e) {
    throw Error(e.kind(), s.path, e.what());
  }
  conceal(picture, text);
  p.concealed = static_cast<std::int64_t>(s.boxes.size());
  const bool jpeg = info.format == image::Format::jpeg;
  p.path += jpeg ? ".jpg" : ".png";
  std::vector<std::uint8_t> out =
      jpeg ? image::encode_jpeg(picture, {.quality = o.jpeg_quality, .subsample_chroma = false})
           : image::encode_png(picture);
  const std::vector<std::string> left = hidden_content(out);
  if (!left.empty()) throw Error(ErrorKind::format, s.path, str("the new file would hold: ", joined(left, ", ")));
  return out;
}

void process(const Source& s, const PseudonymKey& key, const std::string& out, const fs::path& real_out,
             const AnonymizeOptions& o, AnonymizedPicture& p) {
  try {
    const std::vector<std::uint8_t> bytes = clean_picture(s, key, o, p);
    const fs::path target = fs::path(out) / p.path;
    make_folders(target.parent_path().string());
    // A folder that is a link could lead back to the originals.
    const fs::path folder = fs::canonical(target.parent_path());
    if (std::mismatch(real_out.begin(), real_out.end(), folder.begin(), folder.end()).first != real_out.end())
      throw Error(ErrorKind::file, target.parent_path().string(), "is a link that leads out of the output folder");
    AtomicFile file(target.string());
    file.write(bytes.data(), bytes.size());
    file.commit();
    p.sha256 = sha256(bytes);
  } catch (const Error& e) {
    p.error = e.what();
  } catch (const fs::filesystem_error& e) {
    p.error = e.what();
  }
}

/// What killed runs left half-written, in every folder.
void remove_leftovers(const std::string& out) {
  remove_stale_temporaries(out);
  std::vector<std::string> folders;
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    if (entry.is_directory() && !entry.is_symlink()) folders.push_back(entry.path().string());
  }
  for (const std::string& folder : folders) remove_stale_temporaries(folder);
}

/// Error{usage} unless the folder is new or empty.
void require_empty(const std::string& out) {
  std::error_code error;
  if (!fs::exists(out, error)) return;
  if (!fs::is_empty(out, error)) {
    throw Error(ErrorKind::usage, out, "is not empty",
                "choose a new folder, or write over files of the same name by --overwrite");
  }
}

std::int64_t count_strangers(const std::string& out, const std::vector<AnonymizedPicture>& pictures) {
  std::set<std::string> ours{"manifest.csv"};
  for (const AnonymizedPicture& p : pictures) {
    if (p.error.empty()) ours.insert(p.path);
  }
  std::int64_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    if (entry.is_regular_file() && !ours.contains(entry.path().lexically_relative(out).generic_string())) ++count;
  }
  return count;
}

}  // namespace

std::int64_t Anonymized::failed() const {
  return std::count_if(pictures.begin(), pictures.end(), [](const AnonymizedPicture& p) { return !p.error.empty(); });
}

Anonymized anonymize(const std::vector<std::string>& inputs, const std::string& out, const PseudonymKey& key,
                     const AnonymizeOptions& o) {
  if (o.group_prefix < 0 || o.keep_folders < 0 || o.jpeg_quality < 1 || o.jpeg_quality > 100) {
    throw Error(ErrorKind::usage, "anonymize",
                str("group_prefix = ", o.group_prefix, ", keep_folders = ", o.keep_folders,
                    ", jpeg_quality = ", o.jpeg_quality, ": out of range"));
  }
  if (!o.link.empty()) {
    require_outside(o.link, out, "the file that links names and pseudonyms");
    if (fs::exists(o.link) && !o.overwrite)
      throw Error(ErrorKind::usage, o.link, "exists already",
                  "it may be the only way back to earlier names: choose another file");
  }
  Anonymized result;
  const std::vector<Source> sources = find_sources(inputs, out, key, o, result.left_out);
  if (!o.overwrite) require_empty(out);
  make_folders(out);
  remove_leftovers(out);
  const fs::path real_out = fs::canonical(out);
  std::error_code ignored;
  fs::remove(real_out / "manifest.csv", ignored);

  const auto total = static_cast<std::int64_t>(sources.size());
  result.pictures.resize(sources.size());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    AnonymizedPicture& p = result.pictures[i];
    p.source = sources[i].path;
    p.path = sources[i].folder.empty() ? sources[i].name : sources[i].folder + "/" + sources[i].name;
    p.group = sources[i].group;
    // A picture that fails this time must not leave what an earlier run made of it.
    for (const char* extension : {".jpg", ".png", ".dcm"}) fs::remove(real_out / (p.path + extension), ignored);
  }
  // Some at a time, so that progress and Ctrl-C come through.
  constexpr std::int64_t kBlock = 32;
  for (std::int64_t block = 0; block < total; block += kBlock) {
    if (o.cancel && o.cancel->requested())
      throw Error(ErrorKind::cancelled, "anonymize", str("stopped after ", block, " of ", total, " pictures"),
                  "the folder has no manifest.csv: it is unfinished; --overwrite begins anew");
    if (o.on_progress) o.on_progress(block, total);
    parallel_for(std::min(kBlock, total - block), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = block + begin; i < block + end; ++i)
        process(sources[static_cast<std::size_t>(i)], key, out, real_out, o,
                result.pictures[static_cast<std::size_t>(i)]);
    });
  }
  if (o.on_progress) o.on_progress(total, total);

  std::string manifest = "path,group,sha256,removed,concealed,text_lines\n";
  std::string link = "source,path,group\n";
  for (const AnonymizedPicture& p : result.pictures) {
    if (!p.error.empty()) continue;
    manifest += str(csv_field(p.path), ",", p.group, ",", p.sha256, ",", csv_field(joined(p.removed, "; ")), ",",
                    p.concealed, ",", p.text_lines, "\n");
    link += str(csv_field(p.source), ",", csv_field(p.path), ",", p.group, "\n");
  }
  if (!o.link.empty()) write_private(o.link, link);
  write_file((fs::path(out) / "manifest.csv").string(), manifest);
  result.strangers = count_strangers(out, result.pictures);
  return result;
}

}  // namespace fovea::insight
