#include "tests/tools/program.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "core/rng.h"
#include "image/encode.h"

namespace tool {

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const std::string& path, const std::string& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(out.good());
}

Words files_below(const std::string& folder) {
  Words names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && !name.starts_with(".fovea-")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

namespace {

[[noreturn]] void become_program(const Words& words, const Setup& setup, const std::string& out,
                                 const std::string& err) {
  const int in = ::open("/dev/null", O_RDONLY);
  const int out_file = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int err_file = ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (in < 0 || out_file < 0 || err_file < 0) ::_exit(120);
  ::dup2(in, 0);
  ::dup2(out_file, 1);
  ::dup2(err_file, 2);
  if (setup.columns > 0) {
    const int terminal = ::open(setup.terminal.c_str(), O_RDWR | O_NOCTTY);
    const winsize size{24, static_cast<unsigned short>(setup.columns), 0, 0};
    if (terminal < 0 || ::ioctl(terminal, TIOCSWINSZ, &size) != 0) ::_exit(119);
    ::dup2(terminal, 2);
  }
  ::setenv("TERM", "xterm", 1);
  if (!setup.folder.empty() && ::chdir(setup.folder.c_str()) != 0) ::_exit(121);
  if (setup.file_limit > 0) {
    const rlimit limit{static_cast<rlim_t>(setup.file_limit), static_cast<rlim_t>(setup.file_limit)};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(122);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGXFSZ, setup.limit_kills ? SIG_DFL : SIG_IGN);
  }
  if (setup.as_nobody && ::getuid() == 0 &&
      (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0))
    ::_exit(123);
  ::setenv("LC_ALL", "C.UTF-8", 1);
  std::vector<char*> argv;
  const auto add = [&](const char* word) { argv.push_back(const_cast<char*>(word)); };
  const std::string ranks = std::to_string(setup.ranks);
  if (setup.ranks > 0) {
    // More ranks than processors share them; root is what CI runs as.
    for (const char* word : {"mpirun", "--oversubscribe", "-n", ranks.c_str()}) add(word);
    if (::getuid() == 0) add("--allow-run-as-root");
  }
  add(setup.ranks > 0 ? FOVEA_PROGRAM : "fovea");
  for (const std::string& word : words) add(word.c_str());
  argv.push_back(nullptr);
  if (setup.ranks > 0) ::execvp("mpirun", argv.data());
  ::execv(FOVEA_PROGRAM, argv.data());
  ::_exit(124);
}

}  // namespace

Outcome run(const Words& words, const Setup& given) {
  Setup setup = given;
  const TempFolder folder;
  int terminal = -1;
  std::string shown;
  if (setup.columns > 0) {
    terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    REQUIRE((terminal >= 0 && ::grantpt(terminal) == 0 && ::unlockpt(terminal) == 0));
    setup.terminal = ::ptsname(terminal);
    // What is drawn must be taken away, or the program waits for room.
    setup.watch = [&] {
      char text[4096];
      for (ssize_t n = 0; (n = ::read(terminal, text, sizeof text)) > 0;)
        shown.append(text, static_cast<std::size_t>(n));
      return 0;
    };
  }
  const std::string out = setup.out_path.empty() ? folder / "out" : setup.out_path, err = folder / "err";
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) become_program(words, setup, out, err);
  int status = 0;
  bool ended = false;
  if (setup.watch) {
    while (!ended) {
      ended = ::waitpid(child, &status, WNOHANG) == child;
      const int signal = ended ? 0 : setup.watch();
      if (signal != 0) {
        ::kill(child, signal);
        break;
      }
      ::usleep(1000);
    }
  }
  if (!ended) REQUIRE(::waitpid(child, &status, 0) == child);
  Outcome outcome;
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  if (setup.out_path.empty()) outcome.out = read(out);
  outcome.err = read(err);
  if (terminal >= 0) {
    setup.watch();
    ::close(terminal);
    outcome.err += shown;
  }
  // 120 to 124: become_program() did not get there.
  REQUIRE_FALSE((!setup.as_nobody && outcome.code >= 120 && outcome.code <= 124));
  return outcome;
}

void make_pictures(const std::string& folder, const Words& classes, int each, int side) {
  fovea::Rng rng(5, "tool test pictures");
  for (std::size_t c = 0; c < classes.size(); ++c) {
    fs::create_directories(fs::path(folder) / classes[c]);
    for (int i = 0; i < each; ++i) {
      fovea::image::Image picture(side, side, 3);
      for (std::size_t p = 0; p < picture.pixels.size(); ++p)
        picture.pixels[p] = static_cast<std::uint8_t>(rng.below(150) + (p % 3 == c % 3 ? 80 : 0));
      fovea::image::write_png((fs::path(folder) / classes[c] / ("picture" + std::to_string(i) + ".png")).string(),
                              picture);
    }
  }
}

Words quick_train(const std::string& data, const std::string& out, const Words& more) {
  Words words = {"train", data, "--out", out};
  const std::pair<const char*, const char*> usual[] = {{"--model", "fashion_cnn"}, {"--image-size", "8"},
                                                       {"--batch-size", "6"},      {"--threads", "1"},
                                                       {"--augment", "none"},      {"--epochs", "1"}};
  for (const auto& [option, value] : usual) {
    if (std::find(more.begin(), more.end(), option) != more.end()) continue;
    words.emplace_back(option);
    words.emplace_back(value);
  }
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace tool
