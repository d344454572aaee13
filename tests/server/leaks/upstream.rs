//! An upstream that notes every MAIL and RCPT with its time, fails by a seeded dice, and can be stopped at a step, so that
//! something else happens in the middle of a transaction.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a transaction is kept at a gate, and an upstream is silent, at most: longer than the proxy waits.
const LONGEST: Duration = Duration::from_secs(4);

/// What an upstream was given, from MAIL on.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Which of the upstreams.
    pub upstream: usize,
    /// The proxy was alive then: it had not sent this MAIL yet.
    pub alive: Instant,
    /// When MAIL was read.
    pub at: Instant,
    /// What stood between `<` and `>`.
    pub mail: String,
    /// What stood behind `RCPT TO:`, with the code of the reply.
    pub rcpt: Vec<(String, u16)>,
    /// The header, as far as it was read.
    pub header: String,
    /// When the final dot was read.
    pub dot: Option<Instant>,
    /// When the reply to the final dot had been written, and its code.
    pub replied: Option<(Instant, u16)>,
    /// Some reply was 5xx.
    pub refused: bool,
}

impl Transaction {
    /// The upstream has said that it has the message.
    pub fn is_taken(&self) -> bool {
        self.replied.is_some_and(|(_, code)| code == 250)
    }
}

/// Where a transaction may be stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Mail,
    Rcpt,
    Data,
    Dot,
}

/// What all upstreams have noted, and the gate that all pass.
#[derive(Default)]
pub struct Book {
    transactions: Mutex<Vec<Transaction>>,
    more: Condvar,
    gate: Mutex<Gate>,
    moved: Condvar,
    /// Of 1,000 steps, so many fail.
    faults: AtomicU32,
}

#[derive(Default)]
struct Gate {
    closed: Option<Step>,
    waiting: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    pub fn fail(&self, of_a_thousand: u32) {
        self.faults.store(of_a_thousand, Ordering::SeqCst);
    }

    pub fn transactions(&self) -> Vec<Transaction> {
        lock(&self.transactions).clone()
    }

    /// Waits until another transaction has begun, or for that long.
    pub fn wait_for_another(&self, patience: Duration) {
        let now = lock(&self.transactions);
        let count = now.len();
        let _ = self.more.wait_timeout_while(now, patience, |all| all.len() == count);
    }

    /// Whoever comes to that step stays there. True: somebody did within that time.
    pub fn close(&self, step: Step, patience: Duration) -> bool {
        let mut gate = lock(&self.gate);
        gate.closed = Some(step);
        let (gate, _) = self
            .moved
            .wait_timeout_while(gate, patience, |gate| gate.waiting == 0)
            .unwrap_or_else(PoisonError::into_inner);
        gate.waiting > 0
    }

    pub fn open(&self) {
        lock(&self.gate).closed = None;
        self.moved.notify_all();
    }

    fn pass(&self, step: Step) {
        let mut gate = lock(&self.gate);
        if gate.closed != Some(step) {
            return;
        }
        gate.waiting += 1;
        self.moved.notify_all();
        let (mut gate, _) = self
            .moved
            .wait_timeout_while(gate, LONGEST, |gate| gate.closed == Some(step))
            .unwrap_or_else(PoisonError::into_inner);
        gate.waiting -= 1;
    }

    fn begin(&self, transaction: Transaction) -> usize {
        let mut all = lock(&self.transactions);
        all.push(transaction);
        self.more.notify_all();
        all.len() - 1
    }

    fn note(&self, place: Option<usize>, note: impl FnOnce(&mut Transaction)) {
        if let Some(place) = place {
            note(&mut lock(&self.transactions)[place]);
        }
    }
}

/// Listens until the process ends.
pub fn start(number: usize, book: &Arc<Book>, mut dice: fastrand::Rng) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("the address just bound");
    let offers: Vec<&str> =
        ["PIPELINING", "DSN", "8BITMIME", "SMTPUTF8"].into_iter().filter(|_| dice.bool()).collect();
    let hello: String = offers.iter().map(|offer| format!("250-{offer}\r\n")).collect();
    let hello = Arc::new(format!("250-u{number}.test\r\n{hello}250 SIZE\r\n"));
    let book = Arc::clone(book);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (book, hello, dice) = (Arc::clone(&book), Arc::clone(&hello), dice.fork());
            std::thread::spawn(move || {
                let reader = BufReader::new(stream.try_clone().expect("a descriptor"));
                let session =
                    Session { number, book, dice, hello, stream, reader, last_reply: Instant::now() };
                // Whatever happens to a connection, the proxy has to cope.
                session.serve()
            });
        }
    });
    address
}

struct Session {
    number: usize,
    book: Arc<Book>,
    dice: fastrand::Rng,
    hello: Arc<String>,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    last_reply: Instant,
}

/// What goes wrong at a step.
enum Fault {
    Says(u16),
    Closes,
    Silent,
}

impl Session {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        match self.fault() {
            Some(Fault::Says(_)) => return self.say(421, "4.3.2 not now"),
            Some(fault) => return self.break_off(&fault),
            None => self.say(220, "here")?,
        }
        let (mut place, mut alive) = (None, self.last_reply);
        loop {
            // What is in the buffer already was sent before the last reply left.
            if self.reader.buffer().is_empty() {
                alive = self.last_reply;
            }
            let line = self.line()?;
            let now = Instant::now();
            let argument = || line.split_once(':').map_or("", |(_, rest)| rest).trim().to_owned();
            match line.get(..4).unwrap_or_default() {
                "EHLO" => {
                    let hello = Arc::clone(&self.hello);
                    self.write(hello.as_bytes())?;
                }
                "MAIL" => {
                    let path = argument();
                    let mail = path.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
                    place = Some(self.book.begin(Transaction {
                        upstream: self.number,
                        alive,
                        at: now,
                        mail,
                        rcpt: Vec::new(),
                        header: String::new(),
                        dot: None,
                        replied: None,
                        refused: false,
                    }));
                    self.book.pass(Step::Mail);
                    if self.step(place, 250)? != 250 {
                        place = None;
                    }
                }
                "RCPT" => {
                    let book = Arc::clone(&self.book);
                    let rcpt = argument();
                    book.note(place, |one| one.rcpt.push((rcpt, 0)));
                    book.pass(Step::Rcpt);
                    let code = self.step(place, 250)?;
                    book.note(place, |one| {
                        if let Some(last) = one.rcpt.last_mut() {
                            last.1 = code;
                        }
                    });
                }
                "DATA" => {
                    self.book.pass(Step::Data);
                    let any = |one: &Transaction| one.rcpt.iter().any(|(_, code)| *code == 250);
                    let known = place.is_some_and(|place| any(&lock(&self.book.transactions)[place]));
                    if !known {
                        self.say(503, "5.5.1 nobody")?;
                    } else if self.step(place, 354)? == 354 {
                        self.content(place.take())?;
                    }
                }
                "RSET" => {
                    place = None;
                    self.say(250, "2.0.0 ok")?;
                }
                "QUIT" => return self.say(221, "2.0.0 bye"),
                _ => self.say(250, "2.0.0 ok")?,
            }
        }
    }

    /// Says what is expected, unless something goes wrong. Returns the code that was said.
    fn step(&mut self, place: Option<usize>, expected: u16) -> io::Result<u16> {
        let code = match self.fault() {
            None => expected,
            Some(Fault::Says(code)) => code,
            Some(fault) => {
                self.break_off(&fault)?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        };
        self.book.note(place, |one| one.refused |= code >= 500);
        self.say(code, if code == 421 { "4.3.2 closing" } else { "2.0.0 said" })?;
        if code == 421 { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(code) }
    }

    fn content(&mut self, place: Option<usize>) -> io::Result<()> {
        let book = Arc::clone(&self.book);
        let fault = self.fault();
        let mut in_header = true;
        loop {
            let line = self.line()?;
            if line == "." {
                break;
            }
            in_header &= !line.is_empty();
            if in_header {
                book.note(place, |one| one.header.push_str(&format!("{line}\r\n")));
            } else if let Some(Fault::Closes) = fault
                && self.dice.bool()
            {
                // Whose message it was is known by now, and it is not decided.
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        book.note(place, |one| one.dot = Some(Instant::now()));
        book.pass(Step::Dot);
        let code = match fault {
            None => 250,
            Some(Fault::Says(code)) => code,
            Some(fault) => return self.break_off(&fault),
        };
        book.note(place, |one| one.refused |= code >= 500);
        self.say(code, "2.0.0 said of the whole")?;
        book.note(place, |one| one.replied = Some((Instant::now(), code)));
        Ok(())
    }

    fn fault(&mut self) -> Option<Fault> {
        if self.dice.u32(0..1000) >= self.book.faults.load(Ordering::SeqCst) {
            return None;
        }
        Some(match self.dice.u32(0..20) {
            0..9 => Fault::Says(451),
            9..12 => Fault::Says(550),
            12..14 => Fault::Says(421),
            14..19 => Fault::Closes,
            _ => Fault::Silent,
        })
    }

    fn break_off(&mut self, fault: &Fault) -> io::Result<()> {
        if let Fault::Silent = fault {
            self.stream.set_read_timeout(Some(LONGEST))?;
            // Until the proxy gives up.
            while self.reader.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
                let read = self.reader.buffer().len();
                self.reader.consume(read);
            }
        }
        Err(io::ErrorKind::ConnectionReset.into())
    }

    fn say(&mut self, code: u16, text: &str) -> io::Result<()> {
        // The class of the enhanced code is that of the reply.
        let text = text.strip_prefix("2.0.0 ").map_or(text.to_owned(), |text| match code {
            354 => text.to_owned(),
            code => format!("{}.0.0 {text}", code / 100),
        });
        self.write(format!("{code} {text}\r\n").as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.last_reply = Instant::now();
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}
