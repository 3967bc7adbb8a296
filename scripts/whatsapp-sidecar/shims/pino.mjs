// Baileys makes a logger when it loads; ours is given to it with the connection.
const quiet = () => {}
const logger = { level: 'silent', child: () => logger }
for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) logger[level] = quiet

export default () => logger
