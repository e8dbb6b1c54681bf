/** Runs a server on its home. */

import packageDocument from '../../package.json' with { type: 'json' };
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/logging.ts';
import { createApp } from './app.ts';
import { watchCustody } from './custody-log.ts';
import { Heartbeat } from './heartbeat.ts';
import type { ServerHome } from './home.ts';
import { startListener, type Listener } from './listener.ts';
import { LogUpkeep, watchLog } from './log-upkeep.ts';
import { RequestCounts } from './request-counts.ts';

/** Names this program in the decisions that it makes. */
const SERVER_BUILD = `weightgate/${packageDocument.version}`;

export interface RunningServer {
  /** `https://host:port` */
  readonly address: string;
  /** Takes no more requests, finishes those that run, then closes the home. Calling it again changes nothing. */
  close(): Promise<void>;
}

/**
 * Starts a server on an open home and takes the home over: it is closed with the server, and when starting fails.
 *
 * @throws RefusalError `home-tls`, `home-port`, `file-*`
 */
export async function startServer(home: ServerHome, logger: Logger, clock: Clock): Promise<RunningServer> {
  try {
    const { limits, listen } = home.configuration;
    const {
      requestsPerMinute,
      openChallenges: maxOpenChallenges,
      openEnrolments: maxOpenEnrolments,
    } = limits;
    const bounds = { requestsPerMinute, maxOpenChallenges, maxOpenEnrolments };
    home.witnesses.reportTo(logger);
    const counts = new RequestCounts();
    const app = createApp({ ...home, ...bounds, serverBuild: SERVER_BUILD, counts, logger, clock });
    const { tls } = home.configuration;
    const options = { folder: home.path, tls, listen, connections: limits.connections };
    const listener = await startListener(options, app);
    const { address } = listener;
    const watches = [
      watchCustody(home, home.governance, logger),
      watchLog(upkeepOf(home, counts, logger, clock)),
    ];
    logger.info({ address, mode: home.configuration.mode, origin: home.configuration.origin }, 'serving');
    return { address, close: closeOnce(listener, watches, home, logger) };
  } catch (error) {
    await home.closeAll();
    throw error;
  }
}

function upkeepOf(
  { configuration, governance, log, witnesses }: ServerHome,
  counts: RequestCounts,
  logger: Logger,
  clock: Clock,
): LogUpkeep {
  const { heartbeatSeconds: intervalSeconds, republishSeconds } = configuration.log;
  const heartbeat = new Heartbeat({ governance, counts, clock, serverBuild: SERVER_BUILD, intervalSeconds });
  return new LogUpkeep({ log, witnesses, heartbeat, clock, republishSeconds, logger });
}

/** Work that a running server does by itself. */
interface Watch {
  /** Ends when what runs has ended. */
  stop(): Promise<void>;
}

function closeOnce(
  listener: Listener,
  watches: readonly Watch[],
  home: ServerHome,
  logger: Logger,
): () => Promise<void> {
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await listener.close();
    for (const watch of watches) await watch.stop();
    await home.closeAll();
    logger.info('stopped');
  };
  return () => (closing ??= close());
}
