//! A link to a server that is a few lines of a test.

use std::thread::JoinHandle;

use vox_frame::{Channels, Rate};

use super::*;

const MS: i64 = 1_000_000;

#[test]
fn a_server_that_is_late_to_tell_its_time_moves_nothing_and_one_that_jumps_is_followed() {
    let mut origin = Origin { at: 0, found: 0, later: 0 };
    // 300 ppm slow, and now and then late.
    for n in 1..100 {
        let (now, true_origin) = (n * 100 * MS, n * 30_000);
        let late = if n % 7 == 0 {
            3 * MS
        } else if n % 11 == 0 {
            20 * MS
        } else {
            0
        };
        origin = origin.follow(true_origin + late, now);
        assert!((origin.at - true_origin).abs() <= MS / 5, "{} for {true_origin}", origin.at);
    }
    for n in 100..103 {
        origin = origin.follow(40 * MS, n * 100 * MS);
    }
    assert_eq!(origin.at, 40 * MS);
    assert_eq!(origin.follow(10 * MS, 10_300 * MS).at, 10 * MS);
}

fn shape() -> Shape {
    Shape { rate: Rate::HZ_48000, channels: Channels::STEREO, period: 480, realtime: false }
}

/// The server's side of a connection.
struct Server(UnixStream);

impl Server {
    /// What comes next: the channel, and what it carries.
    fn hear(&mut self) -> (u32, Vec<u8>) {
        let mut descriptor = [0; 20];
        self.0.read_exact(&mut descriptor).expect("a message");
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|n| descriptor[at + n]));
        let mut body = vec![0; word(0) as usize];
        self.0.read_exact(&mut body).expect("as much as was promised");
        (word(4), body)
    }

    /// Answers the next question with `rest`; gives what was asked, a command by its number.
    fn answer(&mut self, rest: &[u8]) -> u8 {
        let (channel, body) = self.hear();
        assert_eq!(channel, u32::MAX, "a question");
        let mut reply = b"L\0\0\0\x02".to_vec();
        reply.extend(&body[5..10]);
        reply.extend(rest);
        self.say(&reply);
        body[4]
    }

    fn say(&mut self, body: &[u8]) {
        let mut message = (body.len() as u32).to_be_bytes().to_vec();
        message.extend([255; 4]);
        message.extend([0; 12]);
        message.extend(body);
        self.0.write_all(&message).expect("somebody listens");
    }

    /// Says that it has played `read` bytes of all streams, and holds `beyond` us more, at a time of day.
    fn tell(&mut self, read: i64, beyond: u64, at: Duration) {
        let mut rest = b"U".to_vec();
        rest.extend(beyond.to_be_bytes());
        rest.extend(b"U\0\0\0\0\0\0\0\x001T\0\0\0\0\0\0\0\0T");
        rest.extend((at.as_secs() as u32).to_be_bytes());
        rest.extend(at.subsec_micros().to_be_bytes());
        rest.extend(b"r\0\0\0\0\0\0\0\0r");
        rest.extend(read.to_be_bytes());
        assert_eq!(self.answer(&rest), 14);
    }
}

/// A link, and a server that lets it begin.
fn linked() -> (Link, Server) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let server: JoinHandle<Server> = std::thread::spawn(move || {
        let mut server = Server(theirs);
        assert_eq!(server.answer(b"L\0\0\0\x23"), 8);
        // Something that nobody has asked for comes between.
        server.say(b"L\0\0\0\x3dL\xff\xff\xff\xffL\0\0\0\x07L\0\0\0\0");
        assert_eq!(server.answer(b"L\0\0\0\0"), 9);
        assert_eq!(server.answer(b"L\0\0\0\x07L\0\0\0\0"), 3);
        server
    });
    let link = Link::begin(ours, &shape(), None).unwrap_or_else(|refusal| panic!("{refusal}"));
    (link, server.join().expect("the server agrees"))
}

#[test]
fn what_is_written_reaches_the_server_and_its_times_say_when_it_is_heard() {
    let (mut link, mut server) = linked();
    let began = monotonic_ns();
    link.write(&[0.25; 2 * 960], began);
    link.ask_where(began);
    link.flush().expect("sent");
    let (channel, samples) = server.hear();
    assert_eq!((channel, samples.len(), &samples[..4]), (7, 960 * 8, &0.25_f32.to_le_bytes()[..]));
    assert!(link.look(0).heard.is_none(), "nobody knows");
    // 480 frames were taken, and the last of them is heard in 10 ms.
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    server.tell(480 * 8, 10_000, wall);
    let told = monotonic_ns();
    let news = link.receive(told).expect("good news");
    assert_eq!((news.empty, news.beyond.map(|(_, frames)| frames)), (0, Some(481)));
    let origin = link.origin.expect("known").at;
    assert!((began - 20 * MS..=told + MS).contains(&origin), "{origin} for {began} to {told}");
    let look = link.look(481);
    assert!(look.level <= 481 && look.room > 0, "{look:?}");
}

#[test]
fn a_stream_that_runs_empty_begins_anew_and_one_that_is_ended_is_gone() {
    let (mut link, mut server) = linked();
    link.write(&[0.0; 960], 0);
    link.origin = Some(Origin { at: 0, found: 0, later: 0 });
    server.say(b"L\0\0\0\x3fL\xff\xff\xff\xffL\0\0\0\x07");
    assert!(link.receive(5 * MS).expect("it goes on").empty == 1);
    assert_eq!((link.origin, link.began), (None, Some((5 * MS, 480))));
    server.say(b"L\0\0\0\x40L\xff\xff\xff\xffL\0\0\0\x07");
    assert!(matches!(link.receive(6 * MS), Err(Upset::Gone(_))));
    drop(server);
    assert!(matches!(link.receive(7 * MS), Err(Upset::Gone(why)) if why.contains("hung up")));
}

#[test]
fn a_server_that_tells_no_time_is_given_no_more_than_it_has_room_for() {
    let (mut link, _server) = linked();
    for _ in 0..20 {
        let look = link.look(0);
        let frames = usize::try_from(look.room).expect("never less than none").min(480);
        link.write(&vec![0.0; 2 * frames], look.at);
    }
    assert_eq!((link.written, link.look(0).room), (4_800, 0));
}

#[test]
fn a_server_that_refuses_is_told_from_one_that_speaks_something_else() {
    let answers: [(&[u8], &str); 2] =
        [(b"L\0\0\0\0L\0\0\0\x01L\0\0\0\x01", "refuses (its error 1)"), (b"HTTP/1.1 400", "another language")];
    for (answer, why) in answers {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut server = Server(theirs);
        server.say(answer);
        let refusal = Link::begin(ours, &shape(), None).err().expect("refused");
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
}
