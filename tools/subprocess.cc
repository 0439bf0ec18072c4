#include "tools/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace fovea::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kKept = 16 << 10;

[[noreturn]] void refused(const std::string& program, const char* what) {
  throw Error(ErrorKind::file, program, str("cannot be run: ", what, ": ", std::strerror(errno)));
}

/// Both ends closed when it goes out of scope.
struct Pipe {
  explicit Pipe(const std::string& program) {
    if (::pipe2(ends, O_CLOEXEC) != 0) refused(program, "no pipe");
  }
  ~Pipe() {
    close(0);
    close(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close(int end) {
    if (ends[end] >= 0) ::close(ends[end]);
    ends[end] = -1;
  }
  int ends[2] = {-1, -1};
};

/// In the child, where only async-signal-safe calls are allowed. A failure is sent as its errno.
[[noreturn]] void become(char* const* argv, const char* folder, int output, int failure) {
  ::setpgid(0, 0);
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) ::signal(signal, SIG_DFL);
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing >= 0 && ::dup2(nothing, 0) >= 0 && ::dup2(output, 1) >= 0 && ::dup2(output, 2) >= 0 &&
      ::chdir(folder) == 0)
    ::execvp(argv[0], argv);
  const int code = errno;
  [[maybe_unused]] const ssize_t sent = ::write(failure, &code, sizeof code);
  ::_exit(127);
}

/// What is there now; false at the end.
bool take(int from, std::string& output) {
  char buffer[4096];
  const ssize_t n = ::read(from, buffer, sizeof buffer);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  output.append(buffer, static_cast<std::size_t>(n));
  if (output.size() > 2 * kKept) output.erase(0, output.size() - kKept);
  return n > 0;
}

/// Ends the process group and waits for its leader.
void end(pid_t child) {
  ::kill(-child, SIGTERM);
  const Clock::time_point patience = Clock::now() + std::chrono::seconds(2);
  while (::waitpid(child, nullptr, WNOHANG) == 0) {
    if (Clock::now() > patience) {
      ::kill(-child, SIGKILL);
      ::waitpid(child, nullptr, 0);
      return;
    }
    ::usleep(20000);
  }
  ::kill(-child, SIGKILL);  // what the leader had started and left behind
}

}  // namespace

Finished run_program(const std::vector<std::string>& words, const std::string& folder, std::chrono::seconds limit,
                     const CancelToken& cancel) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  Pipe output(words[0]), failure(words[0]);
  const pid_t child = ::fork();
  if (child < 0) refused(words[0], "no process");
  if (child == 0) become(argv.data(), folder.c_str(), output.ends[1], failure.ends[1]);
  ::setpgid(child, child);  // here too, so that end() finds the group whoever comes first
  output.close(1);
  failure.close(1);
  Finished result;
  int code = 0;
  // Ends without a byte once the program has replaced the child.
  ssize_t got = 0;
  while ((got = ::read(failure.ends[0], &code, sizeof code)) < 0 && errno == EINTR) {
  }
  if (got == sizeof code) {
    ::waitpid(child, nullptr, 0);
    errno = code;
    if (code != ENOENT && code != EACCES && code != ENOTDIR) refused(words[0], "it does not start");
    result.how = Finished::How::not_found;
    return result;
  }
  ::fcntl(output.ends[0], F_SETFL, O_NONBLOCK);
  const Clock::time_point deadline = Clock::now() + limit;
  bool open = true;
  for (int status = 0;;) {
    pollfd wait{output.ends[0], POLLIN, 0};
    ::poll(&wait, open ? 1 : 0, 50);
    if (open && wait.revents != 0) open = take(output.ends[0], result.output);
    if (::waitpid(child, &status, WNOHANG) == child) {
      // What it wrote last; not what those it left behind may still write.
      for (int i = 0; open && i < 64; ++i) {
        wait.revents = 0;
        if (::poll(&wait, 1, 0) <= 0) break;
        open = take(output.ends[0], result.output);
      }
      result.how = WIFEXITED(status) ? Finished::How::exited : Finished::How::killed;
      result.status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
      break;
    }
    if (cancel.requested()) {
      end(child);
      throw Error(ErrorKind::cancelled, words[0], "stopped");
    }
    if (Clock::now() > deadline) {
      end(child);
      result.how = Finished::How::too_long;
      break;
    }
  }
  if (result.output.size() > kKept) result.output.erase(0, result.output.size() - kKept);
  return result;
}

}  // namespace fovea::tools
