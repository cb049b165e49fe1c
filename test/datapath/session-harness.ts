import type { Gather } from 'uring-engine';
import { createSessionProbes } from '../../src/base/probe.js';
import { Session } from '../../src/datapath/session.js';
import type { SessionPorts } from '../../src/datapath/session-ports.js';
import type { SessionRequest } from '../../src/datapath/session-request.js';
import { IoOp, type PathRequest, type StargatePath } from '../../src/wire/path.js';
import type { PathLoss } from '../../src/transport/path-listener.js';
import type { SessionEnd, SessionRefusal } from '../../src/wire/serving.js';
import { IoStatus } from '../../src/wire/status.js';

/** A list of ranges as the session sees it: it only clears it. */
export function fakeGather(): Gather {
  return { clear: () => undefined } as unknown as Gather;
}

const nothing = fakeGather();

/**
 * Runs a script of events against a session and writes down what it does. Lines with ">" are events, those after them what follows:
 *
 *   > write a          submit a #1 low=1
 */
export class SessionScript {
  readonly lines: string[] = [];
  readonly session: Session;
  readonly #requests = new Map<string, SessionRequest>();
  #epoch = 0;
  #retryEpoch = 0;
  #floor = 0;
  #nowNs = 0;
  #unsettled = 0;
  #isHeld = false;
  #path = 0;
  /** Answers writes during `submit`. */
  #synchronous = false;

  constructor() {
    const say = (line: string): number => this.lines.push(line);
    const ports: SessionPorts = {
      openPath: (epoch, failures) => {
        this.#epoch = epoch;
        say(`open path epoch=${epoch} failures=${failures}`);
      },
      abandonPath: epoch => say(`abandon path epoch=${epoch}`),
      startRetry: (epoch, failures) => {
        this.#retryEpoch = epoch;
        say(`retry later epoch=${epoch} failures=${failures}`);
      },
      endSession: () => say('end session'),
      accuse: (requests, terms) =>
        say(
          `accuse ${requests.map(({ context, clientSeq }) => `${String(context)} #${clientSeq}`).join(', ')}: terms ${terms.join(' and ')}`,
        ),
      nowNs: () => this.#nowNs,
      floor: {
        unsettled: () => this.#unsettled,
        addUnsettled: change => {
          this.#unsettled += change;
          say(`unsettled ${this.#unsettled}`);
        },
        isHeld: () => this.#isHeld,
        hold: () => {
          this.#isHeld = true;
          say('held');
        },
        current: () => this.#floor,
        raise: term => {
          if (term > this.#floor) say(`floor ${term}`);
          this.#floor = Math.max(this.#floor, term);
        },
      },
      openProbes: createSessionProbes,
    };
    this.session = new Session(ports, nothing);
  }

  /** `text`: a script, with or without results; returns it with results. */
  run(text: string): string {
    for (const line of text.split('\n')) {
      if (line.startsWith('#') || line === '') this.lines.push(line);
      if (!line.startsWith('> ')) continue;
      this.lines.push(line);
      this.#event(line.slice(2).split(' '));
    }
    return this.lines.join('\n');
  }

  #event([verb, ...args]: string[]): void {
    const { session } = this;
    const numberOf = (key: string, otherwise: number): number =>
      Number(args.find(a => a.startsWith(`${key}=`))?.split('=')[1] ?? otherwise);
    const epoch = numberOf('epoch', this.#epoch);
    if (verb === 'start') session.start();
    else if (verb === 'opened') session.opened(epoch, this.#newPath(), numberOf('term', 1));
    else if (verb === 'refused') session.refused(epoch, args[0] as SessionRefusal);
    else if (verb === 'ended') session.pathEnded(epoch, args[0] as SessionEnd | PathLoss);
    else if (verb === 'retry') session.retry(numberOf('epoch', this.#retryEpoch));
    else if (verb === 'reply') this.#reply(args[0]!, args[1] as keyof typeof IoStatus, numberOf('term', Math.max(1, this.#floor)));
    else if (verb === 'release') session.release(this.#requests.get(args[0]!)!);
    else if (verb === 'time') this.#nowNs = Number(args[0]);
    else if (verb === 'giveup') session.giveUpBefore(Number(args[0]));
    else if (verb === 'unsettled') this.#unsettled = Number(args[0]);
    else if (verb === 'held') this.#isHeld = args[0] === 'on';
    else if (verb === 'detach') session.detach();
    else if (verb === 'floor') this.#floor = Number(args[0]);
    else if (verb === 'synchronous') this.#synchronous = args[0] === 'on';
    else if (verb === 'state')
      this.lines.push(`${session.state.kind} unanswered=${session.unanswered} ${JSON.stringify(session.counters)}`);
    else if (verb! in IoOp) this.#submit(args[0]!, IoOp[verb as keyof typeof IoOp], args[1] === 'then' ? args[2] : undefined);
    else throw new Error(`script: unknown event "${verb}"`);
  }

  #submit(name: string, op: IoOp, then?: string): void {
    const request = this.session.acquire();
    if (op === IoOp.read) request.data = fakeGather();
    request.set(
      op,
      0,
      4096,
      {
        onAnswer: answered => {
          const status = Object.entries(IoStatus).find(([, value]) => value === answered.status)![0];
          this.lines.push(`answer ${name} ${answered.timedOut ? 'timed out, ' : ''}${status}`);
          if (then !== undefined) this.#submit(then, IoOp.write);
        },
      },
      name,
    );
    this.#requests.set(name, request);
    this.session.submit(request);
  }

  #reply(name: string, status: keyof typeof IoStatus, term: number): void {
    const request = this.#requests.get(name)!;
    request.status = IoStatus[status];
    request.term = term;
    this.session.onReply(request);
  }

  #newPath(): StargatePath {
    const id = ++this.#path;
    return {
      kind: 'unix',
      submit: (request: PathRequest) => {
        const { context } = request as SessionRequest;
        this.lines.push(`path ${id}: submit ${String(context)} #${request.clientSeq} low=${request.lowWater}`);
        if (this.#synchronous) this.#reply(String(context), 'ok', Math.max(1, this.#floor));
      },
      release: (request: PathRequest) => this.lines.push(`path ${id}: release ${String((request as SessionRequest).context)}`),
      close: () => this.lines.push(`path ${id}: close`),
    };
  }
}
