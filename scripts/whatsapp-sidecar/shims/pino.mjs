// Stands for the logger that Baileys makes when it loads: it logs nothing, since Baileys is given log.mjs's with each
// connection.
const quiet = () => {}
const logger = { level: 'silent', child: () => logger }
for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) logger[level] = quiet

export default () => logger
