// A link between two threads of one process: a bounded queue each way. No byte is copied or
// checked; a payload above the receiver's limit is still refused, so that a run in threads fails
// where a run in processes would.
//
// THREADS: each end as link.h says; the ends may live in different threads.
#pragma once

#include <memory>
#include <utility>

#include "link/link.h"

namespace mapl::link {

// What one end sends the other receives. `a.peer` is how the first end calls the second.
// A frame counts against the sender's max_queued_bytes until the other end has taken it; flush()
// has nothing to wait for, since a queued frame survives the close of its sender.
std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>> make_inproc_pair(const LinkOptions& a,
                                                                         const LinkOptions& b);

}  // namespace mapl::link
