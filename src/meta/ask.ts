import type { Socket } from 'node:net';
import { decodeControl, encodeControl } from '../wire/control.js';
import { FrameType } from '../wire/frame.js';
import { errorMessage, helloReply, WIRE_VERSION_MAX, WIRE_VERSION_MIN } from '../wire/hello.js';
import { metaReply, type NodeQuestion } from '../wire/meta.js';
import { FrameStream } from './frame-stream.js';

export interface AskOptions {
  readonly software: string;
  readonly timeoutMs: number;
}

/**
 * One question to another Stargate, over a connection of its own to where it serves its metadata, which is closed behind the answer. Not validated: that is for who
 * knows what the answer should be. Rejects with an Error: not reached, refused, an older version, silent.
 */
export function askNode(socket: Socket, question: NodeQuestion, { software, timeoutMs }: AskOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => stream.close(`no answer within ${timeoutMs} ms`), timeoutMs);
    const stream = new FrameStream(socket, {
      onFrame: ({ type }, payload) => {
        try {
          if (type === FrameType.helloReply) {
            decodeControl(helloReply, payload);
            stream.send(encodeControl(FrameType.metaRequest, { kind: 'ask', question }, 1));
          } else if (type === FrameType.metaReply) {
            const reply = decodeControl(metaReply, payload);
            if (reply.kind === 'answer') resolve(reply.answer);
            stream.close(reply.kind === 'failed' ? reply.message : `it answers with "${reply.kind}"`);
          } else if (type === FrameType.error) stream.close(decodeControl(errorMessage, payload).message);
        } catch (error) {
          stream.close((error as Error).message);
        }
      },
      // Behind an answer that changes nothing any more.
      onClosed: message => {
        clearTimeout(timer);
        reject(new Error(message));
      },
    });
    stream.send(encodeControl(FrameType.hello, { versionMin: WIRE_VERSION_MIN, versionMax: WIRE_VERSION_MAX, role: 'meta', software }));
  });
}
