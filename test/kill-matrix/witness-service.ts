/** Witnesses over HTTPS in this process, one for each disturbed log: what they have cosigned outlives every kill. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { parseAddCheckpoint } from '../../src/log/add-checkpoint.ts';
import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import { Witness, type WitnessRecord } from '../../src/log/witness.ts';
import { createDevelopmentAuthority } from '../../src/platform/tls-authority.ts';
import { testWitnessSigner } from '../log/witness-log.ts';
import { trust, type WitnessAddress } from './work.ts';

const signer = testWitnessSigner('witness.example');

/** One witness, and what came out of the log to it. */
export interface WatchingWitness {
  readonly address: WitnessAddress;
  /** Texts of all checkpoints that it was shown, the refused ones too. */
  readonly shown: readonly string[];
  /** Statuses other than 200, and 409 by which a log learns where its witness is. */
  readonly refusals: readonly number[];
  /** The times of its cosignatures, in the order in which they were made. */
  readonly times: readonly bigint[];
}

interface Served {
  readonly witness: Witness;
  readonly shown: string[];
  readonly refusals: number[];
}

export class WitnessService implements AsyncDisposable {
  private readonly server: Server;
  private readonly authorityCertificate: string;
  private readonly witnesses = new Map<string, Served>();

  private constructor(server: Server, authorityCertificate: string) {
    this.server = server;
    this.authorityCertificate = authorityCertificate;
    server.on('request', (incoming, outgoing) => void this.answer(incoming, outgoing));
  }

  static async start(): Promise<WitnessService> {
    const { authority, server } = await createDevelopmentAuthority([], Math.floor(Date.now() / 1000));
    const listener = createServer({ cert: server.certificate, key: server.privateKey });
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    return new WitnessService(listener, authority.certificate);
  }

  /** A witness that knows no log yet. @param now POSIX seconds */
  add(now: () => number = () => Math.floor(Date.now() / 1000)): WatchingWitness {
    const records = new Map<string, WitnessRecord>();
    const times: bigint[] = [];
    const state = {
      find: (origin: string) => records.get(origin),
      advance: (origin: string, _before: bigint | undefined, record: WitnessRecord) => {
        times.push(record.time);
        records.set(origin, record);
      },
    };
    const served: Served = {
      witness: new Witness({ signers: [signer], logs: [trust], state, now }),
      shown: [],
      refusals: [],
    };
    const path = `/${this.witnesses.size}`;
    this.witnesses.set(path, served);
    const url = `https://127.0.0.1:${(this.server.address() as AddressInfo).port}${path}`;
    const verifierKey = formatVerifierKey(signer.key);
    const { shown, refusals } = served;
    return {
      address: { url, verifierKey, authorityCertificate: this.authorityCertificate },
      shown,
      refusals,
      times,
    };
  }

  private async answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const served = this.witnesses.get((incoming.url ?? '').replace(/\/add-checkpoint$/, ''));
    let body = '';
    // Whoever is killed while asking takes the connection with it.
    try {
      for await (const piece of incoming.setEncoding('utf8')) body += piece as string;
    } catch {
      return;
    }
    if (served === undefined) {
      outgoing.writeHead(404).end();
      return;
    }
    const request = toUtf8(body);
    served.shown.push(textOf(request));
    const answer = await served.witness.addCheckpoint(request);
    if (answer.status !== 200 && answer.status !== 409) served.refusals.push(answer.status);
    outgoing.writeHead(answer.status, { 'content-type': answer.contentType }).end(answer.body);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

function textOf(request: Uint8Array): string {
  const { note } = parseAddCheckpoint(request);
  return note.slice(0, note.indexOf('\n\n') + 1);
}
