//! A client that knows no service beforehand: it learns all of them from the server's reflection, as grpcurl does.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, prost_types::FileDescriptorProto};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest as Ask,
    server_reflection_response::MessageResponse as Told,
};

/// What it has learnt.
pub struct Generic {
    channel: Channel,
    /// The names of all services.
    pub services: BTreeSet<String>,
    pool: DescriptorPool,
}

async fn ask(channel: &Channel, question: Ask) -> Result<Told> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let replies = client.server_reflection_info(tokio_stream::once(request)).await?;
    let reply = replies.into_inner().message().await?.context("no reply")?;
    reply.message_response.context("an empty reply")
}

impl Generic {
    /// Learns what the server has.
    pub async fn learn(channel: Channel) -> Result<Self> {
        let Told::ListServicesResponse(list) = ask(&channel, Ask::ListServices(String::new())).await? else {
            bail!("no list of services");
        };
        let services: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
        let mut files = Vec::new();
        for service in services.iter().filter(|name| name.starts_with("ringfort.")) {
            let Told::FileDescriptorResponse(reply) = ask(&channel, Ask::FileContainingSymbol(service.clone())).await? else {
                bail!("{service} is not described");
            };
            files.extend(reply.file_descriptor_proto);
        }
        let mut pool = DescriptorPool::new();
        // A file comes after those it needs; which those are is found by trying.
        let mut left: Vec<FileDescriptorProto> = files
            .iter()
            .map(|file| FileDescriptorProto::decode(&file[..]))
            .collect::<Result<_, _>>()?;
        let mut asked = BTreeSet::new();
        while !left.is_empty() {
            let known: BTreeSet<String> = pool.files().map(|file| file.name().to_owned()).collect();
            left.retain(|file| !known.contains(file.name()));
            let Some(at) = left
                .iter()
                .position(|file| file.dependency.iter().all(|name| known.contains(name)))
            else {
                let needed = left.iter().flat_map(|file| file.dependency.clone());
                let wanted = needed.filter(|name| !known.contains(name) && asked.insert(name.clone()));
                let wanted: Vec<String> = wanted.collect();
                anyhow::ensure!(!wanted.is_empty() || left.is_empty(), "files that need each other");
                for name in wanted {
                    let Told::FileDescriptorResponse(reply) = ask(&channel, Ask::FileByFilename(name.clone())).await? else {
                        bail!("{name} is not described");
                    };
                    for file in &reply.file_descriptor_proto {
                        left.push(FileDescriptorProto::decode(&file[..])?);
                    }
                }
                continue;
            };
            pool.add_file_descriptor_proto(left.remove(at))?;
        }
        Ok(Self { channel, services, pool })
    }

    /// Calls a unary method with a request written in the text form of protobuf.
    pub async fn call(&self, service: &str, method: &str, request: &str) -> Result<DynamicMessage, Status> {
        let described = self.pool.get_service_by_name(service).expect("a service");
        let described = described.methods().find(|one| one.name() == method).expect("a method");
        let request = DynamicMessage::parse_text_format(described.input(), request).expect("a request");
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = format!("/{service}/{method}").parse().expect("a path");
        let codec = Dynamic(described.output());
        let reply = grpc.unary(tonic::Request::new(request), path, codec).await?;
        Ok(reply.into_inner())
    }

    /// The methods of a service.
    pub fn methods(&self, service: &str) -> Vec<String> {
        let described = self.pool.get_service_by_name(service).expect("a service");
        described.methods().map(|method| method.name().to_owned()).collect()
    }
}

struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(self.0.clone())
    }

    fn decoder(&mut self) -> Self {
        Self(self.0.clone())
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), buffer);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
