import net from 'node:net';
import { DescriptorChannel } from '../../src/descriptor-channel.js';

/** Connects to the path, takes one socket from there, and answers on it. */
const channel = DescriptorChannel.connect(process.argv[2]!);
const received = await channel.receive(20_000);
const socket = new net.Socket({ fd: received!.descriptors[0]! });
socket.once('data', data => socket.end(`from another process: ${data.toString()}`));
