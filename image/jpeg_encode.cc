// JPEG writing on libjpeg-turbo. As in jpeg.cc, the function that can be jumped out of holds plain data only.
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <jpeglib.h>
// after jpeglib.h, which it needs
#include <jerror.h>

#include "core/error.h"
#include "image/encode.h"

namespace fovea::image {
namespace {

struct Encoder {
  jpeg_compress_struct info;  // must be first: callbacks get a pointer to it
  jpeg_error_mgr errors;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
  unsigned char* bytes;
  unsigned long size;
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* e = reinterpret_cast<Encoder*>(info);
  e->errors.format_message(info, e->message);
  std::longjmp(e->escape, 1);
}

void on_output(j_common_ptr) {}

bool encode(Encoder* e, const std::uint8_t* pixels, int width, int height, int channels, const JpegOptions* options) {
  if (setjmp(e->escape)) return false;
  jpeg_create_compress(&e->info);
  jpeg_mem_dest(&e->info, &e->bytes, &e->size);
  e->info.image_width = static_cast<JDIMENSION>(width);
  e->info.image_height = static_cast<JDIMENSION>(height);
  e->info.input_components = channels;
  e->info.in_color_space = channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
  jpeg_set_defaults(&e->info);
  jpeg_set_quality(&e->info, options->quality, TRUE);
  e->info.dct_method = JDCT_ISLOW;
  if (channels == 3 && !options->subsample_chroma)
    e->info.comp_info[0].h_samp_factor = e->info.comp_info[0].v_samp_factor = 1;
  if (options->progressive) jpeg_simple_progression(&e->info);
  jpeg_start_compress(&e->info, TRUE);
  const std::size_t row_bytes = static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
  while (e->info.next_scanline < e->info.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(pixels + e->info.next_scanline * row_bytes);
    jpeg_write_scanlines(&e->info, &row, 1);
  }
  jpeg_finish_compress(&e->info);
  return true;
}

struct Session {
  Encoder e;
  Session() {
    std::memset(&e, 0, sizeof e);
    e.info.err = jpeg_std_error(&e.errors);
    e.errors.error_exit = on_error;
    e.errors.output_message = on_output;
  }
  ~Session() {
    jpeg_destroy_compress(&e.info);
    std::free(e.bytes);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

}  // namespace

std::vector<std::uint8_t> encode_jpeg(const Image& image, const JpegOptions& options) {
  check(image, "encode_jpeg");
  if (image.empty()) throw Error(ErrorKind::usage, "encode_jpeg", "the picture is empty");
  if (options.quality < 1 || options.quality > 100) {
    throw Error(ErrorKind::usage, "encode_jpeg", str("quality ", options.quality, " is not between 1 and 100"));
  }
  if (image.width > JPEG_MAX_DIMENSION || image.height > JPEG_MAX_DIMENSION) {
    throw Error(ErrorKind::usage, "encode_jpeg",
                str("JPEG sides end at ", static_cast<long>(JPEG_MAX_DIMENSION), ", the picture is ", image.width, "x",
                    image.height),
                "write a PNG");
  }
  Session session;
  if (!encode(&session.e, image.pixels.data(), image.width, image.height, image.channels, &options)) {
    const bool memory = session.e.errors.msg_code == JERR_OUT_OF_MEMORY;
    throw Error(memory ? ErrorKind::memory : ErrorKind::format, "encode_jpeg", session.e.message);
  }
  return {session.e.bytes, session.e.bytes + session.e.size};
}

}  // namespace fovea::image
