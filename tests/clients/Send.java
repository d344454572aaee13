import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import javax.activation.DataHandler;
import javax.mail.Message;
import javax.mail.Session;
import javax.mail.Transport;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeBodyPart;
import javax.mail.internet.MimeMessage;
import javax.mail.internet.MimeMultipart;
import javax.mail.util.ByteArrayDataSource;
import com.sun.mail.smtp.SMTPMessage;

/**
 * Sends one message of each kind with JavaMail, set up as applications set it up that write in every language: 8-bit
 * bodies and UTF-8 header fields wherever the server offers them. Usage: java Send HOST PORT
 */
public class Send {
    static Session session;

    static SMTPMessage message(String subject) throws Exception {
        SMTPMessage message = new SMTPMessage(session);
        message.setFrom(new InternetAddress("ann@client.test", "Ann"));
        message.setRecipient(Message.RecipientType.TO, new InternetAddress("bob@upstream.test", "Bob"));
        message.setSubject(subject, "utf-8");
        message.setText("Hello Bob,\n\nthe order is on its way.\n", "us-ascii");
        return message;
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put("mail.smtp.host", arguments[0]);
        properties.put("mail.smtp.port", arguments[1]);
        properties.put("mail.smtp.localhost", "client.test");
        properties.put("mail.smtp.allow8bitmime", "true");
        properties.put("mail.mime.allowutf8", "true");
        session = Session.getInstance(properties);

        Transport.send(message("plain"));

        // With allowutf8 the subject would go out raw if nobody encoded it.
        SMTPMessage encoded = message("");
        encoded.setHeader("Subject", "=?utf-8?B?R3LDvMOfZSB1bmQg4pyT?=");
        Transport.send(encoded);

        byte[] raw = ("From: ann@client.test\r\nTo: bob@upstream.test\r\nSubject: raw subject Gr\u00fc\u00dfe \u2713\r\n"
            + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            + "ASCII\r\n").getBytes(StandardCharsets.UTF_8);
        Transport.send(new MimeMessage(session, new ByteArrayInputStream(raw)));

        SMTPMessage eightBits = message("eight bits");
        eightBits.setText("Gr\u00fc\u00dfe aus K\u00f6ln,\n\u7528\u6237\n", "utf-8");
        eightBits.setAllow8bitMIME(true);
        Transport.send(eightBits);

        SMTPMessage attachment = message("attachment");
        byte[] bytes = new byte[256];
        for (int at = 0; at < bytes.length; at++) {
            bytes[at] = (byte) at;
        }
        MimeBodyPart text = new MimeBodyPart();
        text.setText("<p>Gr\u00fc\u00dfe</p>", "utf-8", "html");
        MimeBodyPart file = new MimeBodyPart();
        file.setDataHandler(new DataHandler(new ByteArrayDataSource(bytes, "application/octet-stream")));
        file.setFileName("table.bin");
        attachment.setContent(new MimeMultipart(text, file));
        Transport.send(attachment);

        SMTPMessage several = message("several");
        several.addRecipients(Message.RecipientType.TO, "eve@upstream.test");
        several.addRecipients(Message.RecipientType.CC, "\"Carol, C.\" <carol@upstream.test>");
        several.addRecipients(Message.RecipientType.BCC, "dave@upstream.test");
        Transport.send(several);

        SMTPMessage dots = message("dots");
        dots.setText(".\n..\n.a line that begins with a dot\nend\n.\n", "us-ascii");
        Transport.send(dots);

        SMTPMessage bounce = message("null");
        bounce.setEnvelopeFrom("<>");
        Transport.send(bounce);
    }
}
