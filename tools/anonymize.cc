// fovea anonymize: pictures without anything that says whose they are.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "insight/protect/anonymize.h"
#include "tools/command.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

struct AnonymizeArguments {
  Common common;
  std::vector<std::string> inputs;
  std::string out, key, boxes;
  bool keep_text = false;
  insight::AnonymizeOptions anonymize;
};

/// Where the key lies that is used when none is named.
std::string default_key() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  if (config && *config) return (fs::path(config) / "fovea/pseudonyms.key").string();
  const char* home = std::getenv("HOME");
  if (home && *home) return (fs::path(home) / ".config/fovea/pseudonyms.key").string();
  throw Error(ErrorKind::usage, "--key", "there is no home folder to keep the key in", "name a file by --key");
}

insight::PseudonymKey open_key(const AnonymizeArguments& o) {
  const std::string path = o.key.empty() ? default_key() : o.key;
  insight::require_outside(path, o.out, "the key");
  if (fs::exists(path)) return insight::PseudonymKey::load(path);
  insight::PseudonymKey key = insight::PseudonymKey::create(path);
  if (!o.common.quiet) {
    std::fprintf(stderr,
                 "made a new key: %s\n  Keep it: only with it will later pictures get names that fit these. Keep it "
                 "apart: whoever has it can test guesses of the original names.\n",
                 path.c_str());
  }
  return key;
}

int run_anonymize(const AnonymizeArguments& given) {
  AnonymizeArguments o = given;
  apply_common(o.common);
  if (!o.boxes.empty()) o.anonymize.boxes = insight::read_boxes(o.boxes);
  const insight::PseudonymKey key = open_key(o);
  o.anonymize.mask_text = !o.keep_text && insight::text_recognition_available();
  if (!o.keep_text && !o.anonymize.mask_text) {
    std::fprintf(stderr,
                 "fovea: warning: text in the pictures is not looked for, as Tesseract is not there (install "
                 "tesseract-ocr-eng, and build with libtesseract-dev)\n");
  }
  o.anonymize.cancel = &catch_interrupts();
  ProgressBar bar(!o.common.quiet && !o.common.json);
  o.anonymize.on_progress = [&](std::int64_t done, std::int64_t total) {
    bar.update("anonymising", done, total, -1, "");
  };
  const insight::Anonymized result = insight::anonymize(o.inputs, o.out, key, o.anonymize);
  bar.clear();
  std::map<std::string, std::int64_t> removed;
  std::int64_t concealed = 0, text_lines = 0, with_text = 0;
  nlohmann::ordered_json failures = nlohmann::ordered_json::array();
  for (const insight::AnonymizedPicture& p : result.pictures) {
    if (!p.error.empty()) {
      std::fprintf(stderr, "fovea: %s\n", p.error.c_str());
      failures.push_back({{"file", p.source}, {"error", p.error}});
      continue;
    }
    concealed += p.concealed;
    text_lines += p.text_lines;
    with_text += p.text_lines > 0;
    for (const std::string& kind : p.removed) ++removed[kind];
  }
  const std::int64_t failed = result.failed();
  const std::int64_t done = static_cast<std::int64_t>(result.pictures.size()) - failed;
  const std::string manifest = (fs::path(o.out) / "manifest.csv").string();
  if (result.strangers > 0) {
    std::fprintf(stderr, "fovea: warning: %s holds %s that this run did not write\n", o.out.c_str(),
                 str(grouped(result.strangers), result.strangers == 1 ? " file" : " files").c_str());
  }
  if (o.common.json) {
    nlohmann::ordered_json json{
        {"pictures", done},         {"failed", failed},       {"removed", removed},          {"concealed", concealed},
        {"text_lines", text_lines}, {"with_text", with_text}, {"left_out", result.left_out}, {"manifest", manifest},
        {"failures", failures}};
    std::printf("%s\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return failed == 0 ? 0 : 1;
  }
  std::printf("%s pictures anonymised, listed in %s\n", grouped(done).c_str(), manifest.c_str());
  const auto list = [](const char* title, const std::map<std::string, std::int64_t>& counts) {
    std::string text;
    for (const auto& [name, count] : counts)
      text += str(text.empty() ? "" : ", ", name.empty() ? "without extension" : name, " (", grouped(count), ")");
    if (!text.empty()) std::printf("%s: %s\n", title, text.c_str());
  };
  list("removed", removed);
  if (concealed > 0) std::printf("boxes concealed: %s\n", grouped(concealed).c_str());
  if (text_lines > 0)
    std::printf("lines of text masked: %s, in %s pictures\n", grouped(text_lines).c_str(), grouped(with_text).c_str());
  list("left out, as they are no JPEG, PNG, BMP or DICOM", result.left_out);
  if (failed > 0) std::printf("failed, and not written: %s\n", grouped(failed).c_str());
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_anonymize(CLI::App& app, Action& action) {
  auto o = std::make_shared<AnonymizeArguments>();
  CLI::App* command = app.add_subcommand("anonymize", "Copy pictures without anything that says whose they are");
  command->footer(
      "Examples:\n"
      "  fovea anonymize photos --out clean                     names, places, notes, previews: gone\n"
      "  fovea anonymize photos --out clean --boxes faces.csv   and faces made unrecognisable\n"
      "  fovea anonymize scans --out clean --group-prefix 8     patients get pseudonyms, and stay together\n\n"
      "Pictures are decoded and encoded anew, so that only pixels get across; folders, which are classes, keep their "
      "names, files get pseudonyms from a secret key. OUT/manifest.csv lists the new files, their SHA-256 and what was "
      "removed. Text that was written into pictures is looked for and masked. Originals are never changed. What else "
      "shows in the pixels stays, but for boxes: see docs/privacy.md.");
  command->add_option("inputs", o->inputs, "Folders and files: JPEG, PNG, BMP, DICOM (.dcm)")->required();
  command->add_option("--out", o->out, "Folder for the new pictures, outside of the inputs; made if missing")
      ->required();
  command->add_option("--key", o->key,
                      "File of the secret key, made if missing (default: fovea/pseudonyms.key in ~/.config)");
  command->add_option("--boxes", o->boxes,
                      "CSV file with a first line path,x,y,w,h and maybe a column of mask or blur (default: mask)");
  command
      ->add_option("--group-prefix", o->anonymize.group_prefix,
                   "The first so many letters of a file's name are its subject, who gets a pseudonym of 12 letters")
      ->check(CLI::Range(0, 255));
  command
      ->add_option("--keep-folders", o->anonymize.keep_folders,
                   "So many levels of folders keep their names; deeper ones get pseudonyms (default: all keep them)")
      ->check(CLI::Range(0, 64));
  command->add_option("--quality", o->anonymize.jpeg_quality, "Quality of new JPEG files")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_flag("--keep-text", o->keep_text, "Do not look for text in the pictures");
  command->add_option("--link", o->anonymize.link,
                      "Write which file became which to this CSV file, readable by you only: keep it apart");
  command->add_flag("--overwrite", o->anonymize.overwrite, "Write over files in OUT");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_anonymize(*o); }; });
}

}  // namespace fovea::tools
