// Logs in within TLS with JavaMail and sends one message, once with each mechanism.
// Usage: java Login HOST PORT starttls|implicit USER PASSWORD
import java.util.Properties;
import javax.mail.Message;
import javax.mail.Session;
import javax.mail.Transport;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeMessage;

public class Login {
    public static void main(String[] arguments) throws Exception {
        for (String mechanism : new String[] {"PLAIN", "LOGIN"}) {
            Properties properties = new Properties();
            properties.setProperty("mail.smtp.auth", "true");
            properties.setProperty("mail.smtp.auth.mechanisms", mechanism);
            properties.setProperty("mail.smtp.ssl.trust", arguments[0]);
            boolean implicit = arguments[2].equals("implicit");
            properties.setProperty(implicit ? "mail.smtp.ssl.enable" : "mail.smtp.starttls.required", "true");
            if (!implicit) {
                properties.setProperty("mail.smtp.starttls.enable", "true");
            }
            Session session = Session.getInstance(properties);
            MimeMessage message = new MimeMessage(session);
            message.setFrom(new InternetAddress("ann@client.test"));
            message.setRecipient(Message.RecipientType.TO, new InternetAddress("bob@upstream.test"));
            message.setSubject("from JavaMail");
            message.setText("Hello");
            try (Transport transport = session.getTransport("smtp")) {
                transport.connect(arguments[0], Integer.parseInt(arguments[1]), arguments[3], arguments[4]);
                transport.sendMessage(message, message.getAllRecipients());
            }
        }
    }
}
