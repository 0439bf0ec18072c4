// Makes a pack: pictures decoded and resized on all threads, some at a time, and written in order.
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "augment/files_internal.h"
#include "augment/pack.h"
#include "augment/pack_format_internal.h"
#include "augment/pack_source_internal.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "core/threads/parallel.h"

namespace fovea {
namespace {

constexpr std::int64_t kAtATime = 64;

image::Image made(const PackRule& rule, image::Image picture) {
  if (rule.channels > 0 && picture.channels != rule.channels) picture = image::convert(picture, rule.channels);
  if (rule.width > 0) {
    if (picture.width == rule.width && picture.height == rule.height) return picture;
    return image::resize(picture, rule.width, rule.height, rule.filter);
  }
  // Larger ones only: what a model enlarges anyway need not be stored enlarged.
  if (rule.shorter_side > 0 && std::min(picture.width, picture.height) > rule.shorter_side)
    return image::resize_shorter_side(picture, rule.shorter_side, rule.filter);
  return picture;
}

void check(const PackRule& r, const std::vector<PackPart>& parts) {
  const auto require = [](bool good, std::string_view what, std::string_view hint = {}) {
    if (!good) throw Error(ErrorKind::usage, "pack", what, hint);
  };
  constexpr int kMaxSide = 16384;
  require(r.shorter_side >= 0 && r.shorter_side <= kMaxSide && r.width >= 0 && r.width <= kMaxSide && r.height >= 0 &&
              r.height <= kMaxSide && (r.width > 0) == (r.height > 0),
          str("sizes are between 0 and ", kMaxSide, ", and width and height are given together"));
  require(r.channels == 0 || r.channels == 1 || r.channels == 3, "channels are 1, 3, or 0 for as stored");
  std::int64_t pictures = 0;
  for (const PackPart& part : parts) {
    require(part.data != nullptr, "a part is null");
    require(part.data->class_names() == parts.front().data->class_names(), "the parts have different classes");
    pictures += part.data->size();
  }
  require(pictures > 0, "there are no pictures");
}

}  // namespace

std::string pack::source_digest(const std::vector<PackPart>& parts) {
  std::string lines;
  for (const PackPart& part : parts) {
    for (std::int64_t i = 0; i < part.data->size(); ++i) {
      const std::string name = part.data->name(i);
      struct stat info {};
      const bool file = ::stat(name.c_str(), &info) == 0 && S_ISREG(info.st_mode);
      lines += str(part.name, '\0', std::filesystem::path(name).filename().string(), '\0', part.data->label(i), '\0',
                   file ? static_cast<std::int64_t>(info.st_size) : -1, '\0',
                   file ? static_cast<std::int64_t>(info.st_mtime) : -1, '\n');
    }
  }
  return sha256({reinterpret_cast<const std::uint8_t*>(lines.data()), lines.size()});
}

std::string pack::below_folder_of(const std::string& pack, const std::string& source) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path folder = fs::weakly_canonical(fs::absolute(pack, failed).parent_path(), failed);
  const fs::path data = fs::weakly_canonical(fs::absolute(source, failed), failed);
  const std::string relative = data.lexically_relative(folder).string();
  return failed || relative.empty() || relative == "." || relative.starts_with("..") ? "" : relative;
}

std::vector<std::string> write_pack(const std::string& path, const std::vector<PackPart>& parts,
                                    const PackOptions& options) {
  check(options.rule, parts);
  std::int64_t total = 0, done = 0;
  for (const PackPart& part : parts) total += part.data->size();
  const std::string source = options.source.empty() ? "" : pack::below_folder_of(path, options.source);
  const std::string digest = source.empty() ? "" : pack::source_digest(parts);  // before it is read
  std::vector<std::string> left_out, names;
  std::vector<pack::Record> records;
  std::string text;
  AtomicFile file(path);
  std::uint64_t position = sizeof(pack::Footer::magic);
  file.write(pack::kMagic, position);
  for (std::size_t p = 0; p < parts.size(); ++p) {
    names.push_back(parts[p].name);
    const Dataset& data = *parts[p].data;
    for (std::int64_t first = 0; first < data.size(); first += kAtATime) {
      const std::int64_t count = std::min(kAtATime, data.size() - first);
      std::vector<std::optional<image::Image>> pictures(static_cast<std::size_t>(count));
      std::vector<std::string> failed(static_cast<std::size_t>(count));
      parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t k = begin; k < end; ++k) {
          const auto at = static_cast<std::size_t>(k);
          try {
            pictures[at] = made(options.rule, data.image(first + k));
          } catch (const Error& error) {
            const ErrorKind kind = error.kind();
            const bool broken = kind == ErrorKind::file || kind == ErrorKind::format || kind == ErrorKind::memory;
            if (!options.skip_corrupt || !broken) throw;
            failed[at] = error.what();
          }
        }
      });
      for (std::int64_t k = 0; k < count; ++k) {
        const std::optional<image::Image>& picture = pictures[static_cast<std::size_t>(k)];
        if (!picture) {
          left_out.push_back(failed[static_cast<std::size_t>(k)]);
          continue;
        }
        const std::int64_t i = first + k;
        const std::string name = data.name(i), group = data.group(i);
        pack::Record r;
        r.pixels = position;
        r.name = text.size();
        r.width = static_cast<std::uint32_t>(picture->width);
        r.height = static_cast<std::uint32_t>(picture->height);
        r.channels = static_cast<std::uint32_t>(picture->channels);
        r.label = static_cast<std::uint32_t>(data.label(i));
        r.part = static_cast<std::uint32_t>(p);
        r.name_bytes = static_cast<std::uint32_t>(name.size());
        r.group_bytes = static_cast<std::uint32_t>(group.size());
        records.push_back(r);
        text += name;
        text += group;
        file.write(picture->pixels.data(), picture->pixels.size());
        position += picture->pixels.size();
      }
      done += count;
      if (options.on_pictures) options.on_pictures(done, total);
    }
  }
  if (records.empty())
    throw Error(ErrorKind::format, "pack", "none of the pictures can be read",
                left_out.empty() ? "" : left_out.front());
  const PackRule& rule = options.rule;
  const nlohmann::ordered_json json{{"classes", parts.front().data->class_names()},
                                    {"parts", names},
                                    {"class_weights", options.class_weights},
                                    {"source", source},
                                    {"source_sha256", digest},
                                    {"shorter_side", rule.shorter_side},
                                    {"width", rule.width},
                                    {"height", rule.height},
                                    {"filter", std::string(image::to_string(rule.filter))},
                                    {"channels", rule.channels}};
  std::string about;
  try {
    about = json.dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::usage, "pack", "a class, part or path is not valid UTF-8", "rename it");
  }
  const auto pad = [&] {
    constexpr char kZeros[8] = {};
    const std::size_t zeros = (8 - position % 8) % 8;
    file.write(kZeros, zeros);
    position += zeros;
  };
  pack::Footer footer;
  pad();
  footer.json = position;
  footer.json_bytes = about.size();
  file.write(about);
  position += about.size();
  pad();
  footer.records = position;
  footer.count = records.size();
  file.write(records.data(), records.size() * sizeof(pack::Record));
  position += records.size() * sizeof(pack::Record);
  footer.text = position;
  footer.text_bytes = text.size();
  file.write(text);
  position += text.size();
  pad();
  std::memcpy(footer.magic, pack::kMagic, sizeof footer.magic);
  file.write(&footer, sizeof footer);
  file.commit();
  return left_out;
}

}  // namespace fovea
