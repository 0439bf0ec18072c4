// Plans and writes what is done about rare classes.
#include "insight/mitigate.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <numeric>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "image/encode.h"
#include "insight/protect/csv_internal.h"

namespace fovea::insight {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNames[] = {"weights", "oversample", "augment", "mixup", "paste", "style"};

bool has(const MitigationOptions& o, Mitigation kind) {
  return std::find(o.kinds.begin(), o.kinds.end(), kind) != o.kinds.end();
}

bool makes_pictures(Mitigation kind) { return kind != Mitigation::weights && kind != Mitigation::oversample; }

void check(const MitigationOptions& o) {
  if (!(o.share >= 0 && o.share <= 1) || !(o.most >= 0 && o.most <= 100) || o.kinds.empty()) {
    throw Error(
        ErrorKind::usage, "mitigation",
        str("expected at least one kind, a share of 0 to 1 and 0 to 100 synthetic pictures for each real one, got ",
            o.kinds.size(), ", ", o.share, " and ", o.most));
  }
}

std::string lower_extension(const std::string& path) {
  std::string text = fs::path(path).extension().string();
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// A class's name as a folder: what could mean something to a file system is replaced.
std::string folder_name(const std::string& name, std::size_t k) {
  std::string out;
  for (const char c : name) out += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ? c : '_';
  return str(k, "-", out.substr(0, 60));
}

std::string from(const fs::path& folder, const std::string& file) {
  const fs::path way = fs::absolute(file).lexically_normal().lexically_relative(folder);
  return way.empty() ? fs::absolute(file).string() : way.generic_string();
}

class Writer {
 public:
  Writer(const std::string& folder, const Dataset& train, const std::vector<ClassMitigation>& plan,
         const MitigationOptions& o)
      : folder_(fs::absolute(folder).lexically_normal()), train_(train), plan_(plan), o_(o), members_(plan.size()) {
    for (std::int64_t i = 0; i < train.size(); ++i) members_[static_cast<std::size_t>(train.label(i))].push_back(i);
    for (const ClassMitigation& c : plan) total_ += c.synthetic;
  }

  std::string rows;  ///< of the manifest
  std::string provenance = "path,label,how,source,other,parameters,sha256\n";

  void row(const std::string& path, std::size_t label, const std::string& group, const std::string& split,
           const char* origin) {
    char weight[32];
    std::snprintf(weight, sizeof weight, "%.6g", plan_[label].weight);
    rows += str(csv_field(path), ",", csv_field(plan_[label].name), ",", csv_field(group), ",", csv_field(split), ",",
                weight, ",", origin, "\n");
  }

  void make(std::size_t k) {
    const std::vector<std::int64_t>& own = members_[k];
    if (own.empty()) return;
    std::vector<Mitigation> kinds;
    for (const Mitigation kind : o_.kinds) {
      const bool pair = kind == Mitigation::mixup || kind == Mitigation::paste;
      const bool others = kind == Mitigation::style && static_cast<std::int64_t>(own.size()) < train_.size();
      if (makes_pictures(kind) && (pair ? own.size() > 1 : kind == Mitigation::style ? others : true))
        kinds.push_back(kind);
    }
    const std::string folder = str("synthetic/", folder_name(plan_[k].name, k));
    if (plan_[k].synthetic > 0 && !kinds.empty()) make_folders((folder_ / folder).string());
    for (std::int64_t n = 0; n < plan_[k].synthetic && !kinds.empty(); ++n) {
      if (o_.cancel && o_.cancel->requested())
        throw Error(ErrorKind::cancelled, "mitigation", "stopped before the manifest was written");
      if (o_.on_progress) o_.on_progress(done_, total_);
      ++done_;
      // Pictures and kinds take turns, so that none is favoured, and each picture meets each kind.
      const auto turn = static_cast<std::size_t>(n);
      const std::size_t both = std::max<std::size_t>(1, std::lcm(own.size(), kinds.size()));
      const std::size_t place = (turn + turn / both) % own.size();
      const std::int64_t a = own[place];
      const Mitigation kind = kinds[turn % kinds.size()];
      Rng rng(o_.seed, str("mitigation ", k), static_cast<std::uint64_t>(n));
      const std::int64_t b = partner(kind, k, place, rng);
      std::string parameters;
      const image::Image picture = train_.image(a);
      const image::Image made = synthesize(kind, picture, b < 0 ? picture : train_.image(b), rng, &parameters);
      // Another file type, or worse quality, would tell the class.
      const std::string type = lower_extension(train_.name(a));
      const bool jpeg = type == ".jpg" || type == ".jpeg";
      const std::vector<std::uint8_t> bytes =
          jpeg ? image::encode_jpeg(made, {.quality = 95}) : image::encode_png(made);
      const std::string path = str(folder, "/", n + 1, jpeg ? ".jpg" : ".png");
      write_file((folder_ / path).string(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      row(path, k, train_.group(a), "train", "synthetic");
      provenance += str(csv_field(path), ",", csv_field(plan_[k].name), ",", to_string(kind), ",",
                        csv_field(from(folder_, train_.name(a))), ",",
                        b < 0 ? std::string() : csv_field(from(folder_, train_.name(b))), ",", csv_field(parameters),
                        ",", sha256(bytes), "\n");
    }
    for (std::int64_t n = 0; n < plan_[k].repeated; ++n) {
      const std::int64_t i = own[static_cast<std::size_t>(n) % own.size()];
      row(from(folder_, train_.name(i)), k, train_.group(i), "train", "repeated");
    }
  }

  const fs::path& folder() const { return folder_; }

 private:
  /// Another picture of the class, or one of another class; -1: none is needed.
  std::int64_t partner(Mitigation kind, std::size_t k, std::size_t own_place, Rng& rng) const {
    const std::vector<std::int64_t>& own = members_[k];
    if (kind == Mitigation::augment) return -1;
    if (kind == Mitigation::style) {
      for (;;) {
        const auto i = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(train_.size())));
        if (train_.label(i) != static_cast<std::int64_t>(k)) return i;
      }
    }
    const auto step = static_cast<std::size_t>(1 + rng.below(own.size() - 1));
    return own[(own_place + step) % own.size()];
  }

  fs::path folder_;
  const Dataset& train_;
  const std::vector<ClassMitigation>& plan_;
  const MitigationOptions& o_;
  std::vector<std::vector<std::int64_t>> members_;
  std::int64_t done_ = 0, total_ = 0;
};

}  // namespace

std::string_view to_string(Mitigation kind) { return kNames[static_cast<std::size_t>(kind)]; }

Mitigation mitigation_from_string(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) return static_cast<Mitigation>(i);
    known += str(i ? ", " : "", kNames[i]);
  }
  throw Error(ErrorKind::usage, "mitigation", str("there is no '", name, "'"), str("there are: ", known));
}

std::vector<ClassMitigation> plan_mitigation(const std::vector<std::string>& names,
                                             const std::vector<std::int64_t>& counts, const MitigationOptions& o) {
  check(o);
  if (counts.empty() || counts.size() != names.size())
    throw Error(ErrorKind::usage, "mitigation", "expected a count for each class");
  const std::int64_t largest = *std::max_element(counts.begin(), counts.end());
  if (largest < 1) throw Error(ErrorKind::usage, "mitigation", "there are no pictures");
  const bool synthetic = std::any_of(o.kinds.begin(), o.kinds.end(), makes_pictures);
  std::vector<ClassMitigation> plan;
  double total = 0, classes = 0;
  for (std::size_t k = 0; k < counts.size(); ++k) {
    ClassMitigation c{names[k], counts[k], 0, 0, 1};
    const auto target = static_cast<std::int64_t>(std::ceil(o.share * static_cast<double>(largest) - 1e-9));
    if (c.real > 0 && c.real < target) {
      const std::int64_t missing = target - c.real;
      if (synthetic)
        c.synthetic = std::min(missing, static_cast<std::int64_t>(std::llround(o.most * static_cast<double>(c.real))));
      if (has(o, Mitigation::oversample)) c.repeated = missing - c.synthetic;
    }
    total += static_cast<double>(c.real + c.synthetic + c.repeated);
    classes += c.real > 0;
    plan.push_back(std::move(c));
  }
  if (has(o, Mitigation::weights)) {
    for (ClassMitigation& c : plan) {
      if (c.real > 0) c.weight = total / (classes * static_cast<double>(c.real + c.synthetic + c.repeated));
    }
  }
  return plan;
}

void write_mitigation(const std::string& folder, const std::vector<std::pair<std::string, DatasetPtr>>& parts,
                      const std::vector<ClassMitigation>& plan, const MitigationOptions& o) {
  check(o);
  const auto train = std::find_if(parts.begin(), parts.end(), [](const auto& p) { return p.first == "train"; });
  if (train == parts.end()) throw Error(ErrorKind::usage, "mitigation", "the data has no part to train on");
  for (const auto& [name, data] : parts) {
    if (data->class_names().size() != plan.size())
      throw Error(ErrorKind::usage, "mitigation", "the plan is for other classes");
    std::error_code ignored;
    if (data->size() > 0 && !fs::is_regular_file(data->name(0), ignored)) {
      throw Error(ErrorKind::usage, data->name(0), "is no file of its own, which a manifest could name",
                  "for such data there is fovea train --balance weights or oversample");
    }
  }
  make_folders(folder);
  const std::string manifest = (fs::path(folder) / "manifest.csv").string();
  if (fs::exists(manifest))
    throw Error(ErrorKind::usage, folder, "holds a manifest already", "name a new folder, or remove this one first");
  Writer writer(folder, *train->second, plan, o);
  for (const auto& [name, data] : parts) {
    for (std::int64_t i = 0; i < data->size(); ++i) {
      writer.row(from(writer.folder(), data->name(i)), static_cast<std::size_t>(data->label(i)), data->group(i), name,
                 "original");
    }
  }
  for (std::size_t k = 0; k < plan.size(); ++k) writer.make(k);
  write_file((fs::path(folder) / "provenance.csv").string(), writer.provenance);
  write_file(manifest, str("path,label,group,split,weight,origin\n", writer.rows));
}

}  // namespace fovea::insight
