//! All futures of one connection in one task.
//!
//! A connection of hyper is a future of its own beside one for every stream, and they wake each other for every message; a sending
//! stream even wakes itself. As tasks of a runtime with several threads each such wake costs a pass through the scheduler, and
//! often a call that wakes another thread. Here it sets a flag: the one task goes on until no future of it has anything to do.
//!
//! Invariants: a wake from within the task does not wake the task; one from outside is never lost; futures are polled, and dropped,
//! by the task alone.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::runtime::Handle;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Gives futures to the task. Cheap to clone. The task ends when all of them have ended and the last clone is gone.
#[derive(Clone)]
pub struct Bundle(Arc<Gate>);

/// Counts the clones: its drop tells the task.
struct Gate(Arc<Core>);

struct Core {
    /// Futures that the task has not taken up yet.
    fresh: Mutex<Vec<Job>>,
    /// Some future is to be polled, or taken up, or there will be no further one.
    pending: AtomicBool,
    /// The task is at it and will look at `pending` before it stops.
    polling: AtomicBool,
    /// Nobody can give it a future any more.
    closed: AtomicBool,
    /// The task is gone; a future that comes now is dropped.
    over: AtomicBool,
    task: AtomicWaker,
}

impl Bundle {
    /// A bundle whose task lives on `runtime`.
    pub fn spawn(runtime: &Handle) -> Self {
        let (bundle, task) = Self::new();
        runtime.spawn(task);
        bundle
    }

    fn new() -> (Self, Task) {
        let core = Arc::new(Core {
            fresh: Mutex::default(),
            pending: AtomicBool::new(true),
            polling: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            task: AtomicWaker::new(),
        });
        let task = Task {
            core: core.clone(),
            slots: Vec::new(),
        };
        (Self(Arc::new(Gate(core))), task)
    }

    /// Runs a future in the task, from the task's next turn on; drops it if the task has ended, which it does with its runtime.
    pub fn run(&self, future: impl Future<Output = ()> + Send + 'static) {
        let core = &self.0.0;
        core.fresh.lock().push(Box::pin(future));
        if core.over.load(SeqCst) {
            core.drop_fresh();
        }
        core.notify();
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Bundle {
    fn execute(&self, future: F) {
        self.run(future);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.closed.store(true, SeqCst);
        self.0.notify();
    }
}

impl Core {
    fn drop_fresh(&self) {
        let fresh = std::mem::take(&mut *self.fresh.lock());
        drop(fresh);
    }

    fn notify(&self) {
        self.pending.store(true, SeqCst);
        if !self.polling.load(SeqCst) {
            self.task.wake();
        }
    }
}

/// What runs the futures.
struct Task {
    core: Arc<Core>,
    slots: Vec<Slot>,
}

struct Slot {
    job: Job,
    flag: Arc<Flag>,
    waker: Waker,
}

/// Whether one future is to be polled.
struct Flag {
    raised: AtomicBool,
    core: Arc<Core>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.raised.swap(true, SeqCst) {
            self.core.notify();
        }
    }
}

impl Task {
    fn take_up(&mut self) {
        for job in std::mem::take(&mut *self.core.fresh.lock()) {
            let flag = Arc::new(Flag {
                raised: AtomicBool::new(true),
                core: self.core.clone(),
            });
            let waker = Waker::from(flag.clone());
            self.slots.push(Slot { job, flag, waker });
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.core.over.store(true, SeqCst);
        self.core.drop_fresh();
    }
}

impl Slot {
    /// True once its future has ended.
    fn poll(&mut self) -> bool {
        self.flag.raised.swap(false, SeqCst) && self.job.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready()
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let core = this.core.clone();
        core.task.register(cx.waker());
        core.polling.store(true, SeqCst);
        for _ in 0..TURNS_MAX {
            core.pending.store(false, SeqCst);
            this.take_up();
            this.slots.retain_mut(|slot| !slot.poll());
            if !core.pending.load(SeqCst) {
                break;
            }
        }
        core.polling.store(false, SeqCst);
        if core.pending.load(SeqCst) {
            // Others first: this has taken its turns, or the wake came when it was about to stop.
            cx.waker().wake_by_ref();
        } else if core.closed.load(SeqCst) && this.slots.is_empty() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// How often the task looks through its futures before it lets others run.
const TURNS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        time::Duration,
    };

    use futures_util::task::noop_waker;
    use tokio::{
        sync::{mpsc, oneshot},
        task::yield_now,
    };

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn futures_that_wake_each_other_and_themselves_do_not_wake_the_task() {
        let (bundle, mut task) = Bundle::new();
        let (there, mut back) = (mpsc::channel(1), mpsc::channel(1));
        let (to, mut from) = there;
        let done = Arc::new(AtomicUsize::new(0));
        let count = done.clone();
        bundle.run(async move {
            for number in 0..3 {
                to.send(number).await.unwrap();
                assert_eq!(back.1.recv().await, Some(number));
                count.fetch_add(1, Relaxed);
            }
            std::future::pending().await
        });
        bundle.run(async move {
            while let Some(number) = from.recv().await {
                back.0.send(number).await.unwrap();
            }
        });
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((done.load(Relaxed), woken.0.load(Relaxed)), (3, 0));
    }

    #[test]
    fn a_future_that_never_rests_lets_others_run() {
        let (bundle, mut task) = Bundle::new();
        let polls = Arc::new(AtomicUsize::new(0));
        let count = polls.clone();
        bundle.run(std::future::poll_fn(move |cx| {
            count.fetch_add(1, Relaxed);
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((polls.load(Relaxed), woken.0.load(Relaxed)), (TURNS_MAX, 1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn wakes_from_other_threads_are_never_lost() {
        let bundle = Bundle::spawn(&Handle::current());
        let (to, mut from) = mpsc::channel::<u32>(1);
        let (told, heard) = oneshot::channel();
        bundle.run(async move {
            let mut sum = 0u64;
            while let Some(number) = from.recv().await {
                sum += u64::from(number);
            }
            let _ = told.send(sum);
        });
        for number in 1..=20_000 {
            to.send(number).await.unwrap();
            if number % 7 == 0 {
                yield_now().await;
            }
        }
        drop(to);
        let sum = tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap().unwrap();
        assert_eq!(sum, 20_000 * 20_001 / 2);
    }

    #[test]
    fn the_task_ends_after_its_last_future_when_nobody_can_add_one() {
        let (bundle, mut task) = Bundle::new();
        let (end, ended) = oneshot::channel::<()>();
        bundle.run(async move { drop(ended.await) });
        let waker = noop_waker();
        let mut poll = || Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_ready();
        assert!(!poll());
        drop(bundle);
        assert!(!poll());
        drop(end);
        assert!(poll());
    }
}
