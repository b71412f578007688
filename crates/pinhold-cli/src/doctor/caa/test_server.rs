//! A DNS server on loopback, over UDP and TCP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What the server answers for a name.
#[derive(Clone)]
pub(super) enum Answer {
    /// An alias, without the records of its target.
    Alias(&'static str),
    /// As flags, tag and value.
    Caa(Vec<(u8, &'static str, &'static str)>),
    /// As `Caa`, but only over TCP: over UDP it is truncated.
    CaaByTcp(Vec<(u8, &'static str, &'static str)>),
    Code(ResponseCode),
    /// Not even an error.
    Nothing,
    NotDns,
}

pub(super) struct DnsServer {
    pub(super) address: SocketAddr,
    /// The queries, as in "udp shop.example".
    queries: Arc<Mutex<Vec<String>>>,
}

impl DnsServer {
    /// Begins to answer queries. Names without an answer do not exist.
    pub(super) async fn start(answers: &[(&'static str, Answer)]) -> Self {
        let answers = answers.iter().cloned();
        let answers = answers.map(|(name, answer)| (name.to_owned(), answer));
        let zone = Arc::new(Zone {
            answers: answers.collect(),
            queries: Arc::default(),
        });
        let queries = zone.queries.clone();
        let (tcp, udp) = sockets().await;
        let address = tcp.local_addr().unwrap();
        tokio::spawn(serve_udp(udp, zone.clone()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(serve_tcp(stream, zone.clone()));
            }
        });
        Self { address, queries }
    }

    pub(super) fn queries(&self) -> Vec<String> {
        let mut queries = self.queries.lock().unwrap().clone();
        queries.sort();
        queries
    }
}

struct Zone {
    answers: HashMap<String, Answer>,
    queries: Arc<Mutex<Vec<String>>>,
}

/// Binds both protocols to one port, which another program may have taken for one of them.
async fn sockets() -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (tcp, udp);
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut buffer = [0; 4096];
    while let Ok((len, client)) = socket.recv_from(&mut buffer).await {
        if let Some(response) = zone.respond("udp", &buffer[..len]) {
            socket.send_to(&response, client).await.unwrap();
        }
    }
}

async fn serve_tcp(mut stream: TcpStream, zone: Arc<Zone>) {
    while let Ok(len) = stream.read_u16().await {
        let mut query = vec![0; usize::from(len)];
        stream.read_exact(&mut query).await.unwrap();
        if let Some(response) = zone.respond("tcp", &query) {
            let len = u16::try_from(response.len()).unwrap();
            stream.write_u16(len).await.unwrap();
            stream.write_all(&response).await.unwrap();
        }
    }
}

impl Zone {
    fn respond(&self, protocol: &str, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries.first().unwrap().clone();
        let owner = question.name().clone();
        let name = owner.to_ascii().to_ascii_lowercase();
        let name = name.trim_end_matches('.').to_owned();
        self.queries
            .lock()
            .unwrap()
            .push(format!("{protocol} {name}"));
        let mut response = Message::response(query.metadata.id, OpCode::Query);
        response.metadata.recursion_available = true;
        response.add_query(question);
        match self.answers.get(&name) {
            Some(Answer::Alias(target)) => {
                let target = CNAME(Name::from_ascii(target).unwrap());
                response.add_answer(Record::from_rdata(owner, 60, RData::CNAME(target)));
            }
            Some(Answer::CaaByTcp(_)) if protocol == "udp" => response.metadata.truncation = true,
            Some(Answer::Caa(records) | Answer::CaaByTcp(records)) => {
                for record in records {
                    response.add_answer(Record::from_rdata(owner.clone(), 60, caa(record)));
                }
            }
            Some(Answer::Code(code)) => response.metadata.response_code = *code,
            Some(Answer::Nothing) => return None,
            Some(Answer::NotDns) => return Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            None => response.metadata.response_code = ResponseCode::NXDomain,
        }
        Some(response.to_vec().unwrap())
    }
}

fn caa((flags, tag, value): &(u8, &str, &str)) -> RData {
    let mut caa = CAA::new_issue(flags & 0x80 != 0, None, Vec::new());
    caa.reserved_flags = flags & 0x7f;
    caa.tag = (*tag).to_owned();
    caa.value = value.as_bytes().to_vec();
    RData::CAA(caa)
}
