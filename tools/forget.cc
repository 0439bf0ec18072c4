// fovea forget: which runs used a subject's pictures.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "insight/protect/consent.h"
#include "tools/command.h"
#include "tools/report.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

struct ForgetArguments {
  Common common;
  std::string subject;
  std::vector<std::string> folders{"runs"};
};

int run_forget(const ForgetArguments& o) {
  std::vector<std::string> files;
  for (const std::string& folder : o.folders) {
    std::error_code failed;
    if (!fs::is_directory(folder, failed)) throw Error(ErrorKind::file, folder, "there is no such folder of runs");
    for (const auto& entry : fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied)) {
      if (entry.is_regular_file() && entry.path().filename() == "subjects.csv") files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  int failed = 0;
  for (const std::string& file : files) {
    try {
      nlohmann::ordered_json parts;
      std::string text;
      for (const insight::SubjectUse& u : insight::read_subjects(file)) {
        if (u.subject != o.subject) continue;
        parts[u.part] = u.pictures;
        text += str(text.empty() ? "" : ", ", u.pictures, u.pictures == 1 ? " picture in " : " pictures in ", u.part);
      }
      if (parts.empty()) continue;
      const std::string folder = fs::path(file).parent_path().string();
      list.push_back({{"run", folder}, {"pictures", parts}});
      if (!o.common.json) std::printf("%s: %s\n", folder.c_str(), text.c_str());
    } catch (const Error& e) {
      ++failed;
      report_failure(file, e, false);
    }
  }
  if (o.common.json) {
    std::printf("%s\n", nlohmann::ordered_json{{"subject", o.subject}, {"runs", list}, {"looked_at", files.size()}}
                            .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                            .c_str());
  } else if (list.empty()) {
    std::printf("none of %zu runs with a list of subjects used '%s'\n", files.size(), o.subject.c_str());
  } else {
    std::printf("%zu of %zu runs used '%s': their models learnt from it or were chosen by it; nothing was deleted\n",
                list.size(), files.size(), o.subject.c_str());
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_forget(CLI::App& app, Action& action) {
  auto o = std::make_shared<ForgetArguments>();
  CLI::App* command = app.add_subcommand("forget", "List the runs that used a subject's pictures");
  command->footer(
      "Examples:\n"
      "  fovea forget patient-17                 looks through runs/\n"
      "  fovea forget 3f09c2aa71b4 old new       a pseudonym, in these folders of runs\n\n"
      "`fovea train` writes subjects.csv into the run folder where pictures have groups (a group column, "
      "--group-prefix). "
      "Nothing is deleted: a model cannot unlearn, so those runs are to be deleted, and trained again without the "
      "subject, by you.");
  command->add_option("subject", o->subject, "The subject, as groups call it")->required();
  command->add_option("folders", o->folders, "Folders of runs (default: runs)");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_forget(*o); }; });
}

}  // namespace fovea::tools
