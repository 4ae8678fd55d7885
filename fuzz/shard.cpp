// A token shard.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "base/check.h"
#include "base/status.h"
#include "data/shards.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int file = memfd_create("shard", 0);
  MAPL_CHECK(file >= 0 && write(file, data, size) == static_cast<ssize_t>(size), "no memory");
  try {
    const mapl::data::Shard shard("/proc/self/fd/" + std::to_string(file));
    MAPL_CHECK(shard.tokens().size_bytes() <= size, "more tokens than the file holds");
    shard.check_vocabulary(300);
  } catch (const mapl::UserError&) {
  }
  close(file);
  return 0;
}
